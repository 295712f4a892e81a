"""The shipped sandbox provider, for dev and test: a foreign system under /sandbox, reached by HTTP only."""

from __future__ import annotations

import environ


def sandboxes(env: environ.Env, base_url: str) -> dict[str, dict[str, object]]:
    """Provider `sandbox`, and beside it another account of the same under the name `SANDBOX_SECOND_NAME`, if that is set."""
    found = {"sandbox": sandbox_settings(env, base_url)}
    if second := env.str("SANDBOX_SECOND_NAME", default=""):
        own = {"api_key": f"{second}_demo_key", "webhook_secret": f"{second}_demo_webhook_secret"}
        found[second] = {**found["sandbox"], **own}
    return found


def sandbox_settings(env: environ.Env, base_url: str) -> dict[str, object]:
    """The settings of provider `sandbox`; the defaults are the demo's and worthless outside it."""
    return {
        "adapter": "sandbox",
        "base_url": env.str("SANDBOX_BASE_URL", default=f"{base_url}/sandbox"),
        "api_key": env.str("SANDBOX_API_KEY", default="sandbox_demo_key"),
        "webhook_secret": env.str("SANDBOX_WEBHOOK_SECRET", default="sandbox_demo_webhook_secret"),
    }
