"""Tests: real PostgreSQL, real Redis; quick password hashing; no setting of the developer's own environment."""

import os

from payflow.settings.dev import *
from payflow.settings.dev import CACHES, DATABASES, PAYFLOW_PROVIDERS

# A live server's threads outlive its requests: a connection kept would keep the test database from being copied or dropped.
DATABASES["default"]["CONN_MAX_AGE"] = 0
# Parallel test processes share Redis: each has keys of its own.
CACHES["default"]["KEY_PREFIX"] = f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}"

DEBUG = True  # for the system checks, which refuse the sandbox otherwise; pytest-django runs tests without it
SECRET_KEY = "test-only-not-a-secret-0123456789abcdef0123456789"
ALLOWED_HOSTS = ["*"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
PAYFLOW_TIME_TRAVEL = True
PAYFLOW_PROVIDERS = {
    # Without those that keep subscriptions of their own: sweeps ask them, and here nobody listens.
    **{name: config for name, config in PAYFLOW_PROVIDERS.items() if name not in ("sandbox-billing", "sandbox-store")},
    "lava": {
        "adapter": "lava",
        "base_url": "http://127.0.0.1:9/v1",  # nobody listens: a test that talks to Lava starts its emulator
        "api_key": "lava_test_api_key",
        "secret_key": "lava_test_secret_key",
        "previous_secret_key": "",
        "currency": "USD",
    },
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
