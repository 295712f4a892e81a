"""The providers that the environment configures, by the name used in the API, the database and /webhooks/{name}.

A provider is there where one of its secrets is; what else is missing or wrong, the system checks name (`providers.checks`).
"""

from __future__ import annotations

import environ

Config = dict[str, object]


def configured(env: environ.Env) -> dict[str, Config]:
    """Every provider with a secret of its own in the environment."""
    return {**_lava(env)}


def _lava(env: environ.Env) -> dict[str, Config]:
    if not (env.str("LAVA_API_KEY", default="") or env.str("LAVA_SECRET_KEY", default="")):
        return {}
    lava: Config = {
        "adapter": "lava",
        "base_url": env.str("LAVA_BASE_URL", default="https://api.lava.top/v1"),
        "api_key": env.str("LAVA_API_KEY", default=""),
        "secret_key": env.str("LAVA_SECRET_KEY", default=""),
        "previous_secret_key": env.str("LAVA_PREVIOUS_SECRET_KEY", default=""),
        "currency": env.str("LAVA_CURRENCY", default="USD"),
    }
    return {"lava": lava}
