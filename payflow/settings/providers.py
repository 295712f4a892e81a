"""The providers that the environment configures, by the name used in the API, the database and /webhooks/{name}.

A provider is there where one of its secrets is; what else is missing or wrong, the system checks name (`providers.checks`).
"""

from __future__ import annotations

import environ

Config = dict[str, object]


def configured(env: environ.Env) -> dict[str, Config]:
    """Every provider with a secret of its own in the environment."""
    return {**_lava(env), **_twocheckout(env), **_stripe(env), **_apple(env), **_google(env)}


#: The adapter of each of Lava's services, and where that service is; the document's is in none of Lava's texts.
LAVA_FLAVOURS = {
    "document": ("lava", "https://api.lava.top/v1"),
    "lava_ru": ("lava_ru", "https://api.lava.ru"),
    "lava_top": ("lava_top", "https://gate.lava.top"),
}


def _lava(env: environ.Env) -> dict[str, Config]:
    if not (env.str("LAVA_API_KEY", default="") or env.str("LAVA_SECRET_KEY", default="")):
        return {}
    flavour = env.str("LAVA_FLAVOUR", default="document")
    # Another word is no adapter's name, and the system check repeats it.
    adapter, base_url = LAVA_FLAVOURS.get(flavour, (f"LAVA_FLAVOUR={flavour}", ""))
    lava: Config = {
        "adapter": adapter,
        "base_url": env.str("LAVA_BASE_URL", default=base_url),
        "api_key": env.str("LAVA_API_KEY", default=""),
        "secret_key": env.str("LAVA_SECRET_KEY", default=""),
        "previous_secret_key": env.str("LAVA_PREVIOUS_SECRET_KEY", default=""),
        "currency": env.str("LAVA_CURRENCY", default="USD"),
        "shop_id": env.str("LAVA_SHOP_ID", default=""),
        "additional_key": env.str("LAVA_ADDITIONAL_KEY", default=""),
        "previous_additional_key": env.str("LAVA_PREVIOUS_ADDITIONAL_KEY", default=""),
        "webhook_user": env.str("LAVA_WEBHOOK_USER", default=""),
    }
    return {"lava": lava}


def _twocheckout(env: environ.Env) -> dict[str, Config]:
    if not (env.str("TWOCHECKOUT_SECRET_KEY", default="") or env.str("TWOCHECKOUT_BUY_LINK_SECRET", default="")):
        return {}
    twocheckout: Config = {
        "adapter": "twocheckout",
        "base_url": env.str("TWOCHECKOUT_BASE_URL", default="https://api.2checkout.com/rest/6.0"),
        "link_url": env.str("TWOCHECKOUT_LINK_URL", default="https://secure.2checkout.com"),
        "merchant_code": env.str("TWOCHECKOUT_MERCHANT_CODE", default=""),
        "secret_key": env.str("TWOCHECKOUT_SECRET_KEY", default=""),
        "previous_secret_key": env.str("TWOCHECKOUT_PREVIOUS_SECRET_KEY", default=""),
        "buy_link_secret": env.str("TWOCHECKOUT_BUY_LINK_SECRET", default=""),
        "timezone": env.str("TWOCHECKOUT_TIMEZONE", default=""),
        "algorithm": env.str("TWOCHECKOUT_ALGORITHM", default="sha3-256"),
        "grace_days": env.str("TWOCHECKOUT_GRACE_DAYS", default="7"),
        "refund_reason": env.str("TWOCHECKOUT_REFUND_REASON", default="Other"),
        "allow_md5": env.bool("TWOCHECKOUT_ALLOW_MD5", default=False),
        "activate_on_auth": env.bool("TWOCHECKOUT_ACTIVATE_ON_AUTH", default=False),
        "one_click": env.bool("TWOCHECKOUT_ONE_CLICK", default=False),
        "test_mode": env.bool("TWOCHECKOUT_TEST_MODE", default=False),
    }
    return {"2checkout": twocheckout}


def _stripe(env: environ.Env) -> dict[str, Config]:
    if not (env.str("STRIPE_SECRET_KEY", default="") or env.str("STRIPE_WEBHOOK_SECRET", default="")):
        return {}
    stripe: Config = {
        "adapter": "stripe",
        "mode": env.str("STRIPE_MODE", default="payments"),
        "base_url": env.str("STRIPE_BASE_URL", default="https://api.stripe.com"),
        "secret_key": env.str("STRIPE_SECRET_KEY", default=""),
        "webhook_secret": env.str("STRIPE_WEBHOOK_SECRET", default=""),
        "previous_webhook_secret": env.str("STRIPE_PREVIOUS_WEBHOOK_SECRET", default=""),
        "portal_url": env.str("STRIPE_PORTAL_URL", default=""),
    }
    return {"stripe": stripe}


def _apple(env: environ.Env) -> dict[str, Config]:
    if not (env.str("APPLE_PRIVATE_KEY", default="") or env.str("APPLE_BUNDLE_ID", default="")):
        return {}
    environment = env.str("APPLE_ENVIRONMENT", default="Production")
    apple: Config = {
        "adapter": "apple",
        "environment": environment,
        "test_mode": environment == "Sandbox",
        "bundle_id": env.str("APPLE_BUNDLE_ID", default=""),
        "app_id": env.str("APPLE_APP_ID", default=""),
        "issuer_id": env.str("APPLE_ISSUER_ID", default=""),
        "key_id": env.str("APPLE_KEY_ID", default=""),
        "private_key": env.str("APPLE_PRIVATE_KEY", default=""),
        "root_certificates": env.str("APPLE_ROOT_CERTIFICATES", default=""),
        "online_checks": env.bool("APPLE_ONLINE_CHECKS", default=True),
        "base_url": env.str("APPLE_BASE_URL", default="https://api.storekit.apple.com"),
        "sandbox_base_url": env.str("APPLE_SANDBOX_BASE_URL", default="https://api.storekit-sandbox.apple.com"),
    }
    return {"apple": apple}


def _google(env: environ.Env) -> dict[str, Config]:
    if not env.str("GOOGLE_PLAY_SERVICE_ACCOUNT", default=""):
        return {}
    google: Config = {
        "adapter": "google",
        "package_name": env.str("GOOGLE_PLAY_PACKAGE_NAME", default=""),
        "service_account": env.str("GOOGLE_PLAY_SERVICE_ACCOUNT", default=""),
        "audience": env.str("GOOGLE_PLAY_PUSH_AUDIENCE", default=""),
        "push_account": env.str("GOOGLE_PLAY_PUSH_ACCOUNT", default=""),
        "push_subscription": env.str("GOOGLE_PLAY_PUSH_SUBSCRIPTION", default=""),
        "base_url": env.str("GOOGLE_PLAY_BASE_URL", default="https://androidpublisher.googleapis.com"),
        "certs_url": env.str("GOOGLE_PLAY_CERTS_URL", default="https://www.googleapis.com/oauth2/v1/certs"),
        "test_mode": env.bool("GOOGLE_PLAY_TEST_MODE", default=False),
    }
    return {"google": google}
