"""The shipped sandbox provider, for dev and test: a foreign system under /sandbox, reached by HTTP only."""

from __future__ import annotations

import environ


def sandbox_providers(env: environ.Env, base_url: str) -> dict[str, dict[str, object]]:
    """The sandbox in its three modes, each an account of its own; the defaults are the demo's and worthless outside it.

    Under the name `SANDBOX_SECOND_NAME`, if that is set, there is a second account of the first mode beside them.
    """
    at = env.str("SANDBOX_BASE_URL", default=f"{base_url}/sandbox")
    found: dict[str, dict[str, object]] = {
        "sandbox": {
            "adapter": "sandbox",
            "base_url": at,
            "api_key": env.str("SANDBOX_API_KEY", default="sandbox_demo_key"),
            "webhook_secret": env.str("SANDBOX_WEBHOOK_SECRET", default="sandbox_demo_webhook_secret"),
        },
        "sandbox-billing": {
            "adapter": "sandbox",
            "mode": "billing",
            "base_url": at,
            "api_key": env.str("SANDBOX_BILLING_API_KEY", default="sandbox_demo_billing_key"),
            "webhook_secret": env.str("SANDBOX_BILLING_WEBHOOK_SECRET", default="sandbox_demo_billing_webhook_secret"),
        },
        "sandbox-store": {
            "adapter": "sandbox",
            "mode": "store",
            "base_url": at,
            "api_key": env.str("SANDBOX_STORE_API_KEY", default="sandbox_demo_store_key"),
            "webhook_secret": env.str("SANDBOX_STORE_WEBHOOK_SECRET", default="sandbox_demo_store_webhook_secret"),
            # A store knows one address for all its news: what the app buys brings none.
            "hook_url": f"{base_url}/webhooks/sandbox-store",
        },
    }
    if second := env.str("SANDBOX_SECOND_NAME", default=""):
        own = {"api_key": f"{second}_demo_key", "webhook_secret": f"{second}_demo_webhook_secret"}
        found[second] = {**found["sandbox"], **own}
    return found
