"""The embedded start and development: debug, the sandbox provider, time travel."""

from payflow.settings.base import *
from payflow.settings.base import INSTALLED_APPS, PAYFLOW_BASE_URL, PAYFLOW_PROVIDERS, env
from payflow.settings.sandbox import sandbox_providers

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env.str("SECRET_KEY", default="dev-only-not-a-secret-0123456789abcdef0123456789")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
PAYFLOW_TIME_TRAVEL = env.bool("PAYFLOW_TIME_TRAVEL", default=True)
SANDBOX_ENABLED = True
INSTALLED_APPS = [*INSTALLED_APPS, "providers.sandbox.apps.SandboxConfig"]
PAYFLOW_PROVIDERS = {**sandbox_providers(env, PAYFLOW_BASE_URL), **PAYFLOW_PROVIDERS}
PAYFLOW_DEFAULT_PROVIDER = env.str("PAYFLOW_DEFAULT_PROVIDER", default="sandbox")
EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="django.core.mail.backends.console.EmailBackend")
