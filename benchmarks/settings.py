"""Production's settings, as far as loopback allows; the harness gives the rest by the environment.

What is measured must be what is run: the same middleware, persistent connections, fsync, no time travel.
"""

from payflow.settings.production import *  # noqa: F403
from payflow.settings.production import LOGGING as PRODUCTION_LOGGING
from providers.registry import ADAPTERS

DEBUG = False
ROOT_URLCONF = "benchmarks.urls"
WSGI_APPLICATION = "benchmarks.wsgi.application"
SECURE_SSL_REDIRECT = False  # there is no proxy that ends TLS in front of us
PAYFLOW_TIME_TRAVEL = False
PAYFLOW_DEFAULT_PLAN = ""
# Writing two lines per request to a terminal would measure the terminal.
LOGGING = {**PRODUCTION_LOGGING, "root": {**PRODUCTION_LOGGING["root"], "level": "WARNING"}}

# As an entry point would, without a package to install.
ADAPTERS["instant"] = "benchmarks.instant:InstantProvider"

#: Lava's secret signs the deliveries of `benchmarks.workloads.webhooks`. Nothing is ever sent to the provider.
PAYFLOW_PROVIDERS = {
    "lava": {
        "adapter": "lava",
        "base_url": "https://lava.invalid/v1",
        "api_key": "benchmark-api-key",
        "secret_key": "benchmark-webhook-secret",
        "previous_secret_key": "",
        "currency": "USD",
    },
    "instant": {"adapter": "instant"},
}
PAYFLOW_DEFAULT_PROVIDER = "lava"
