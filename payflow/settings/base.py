"""Settings that every environment shares. Everything that differs between installations comes from the environment.

`.env.example` lists the variables; `docs/configuration.md` says what each is for.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import environ

from payflow import __version__
from payflow.settings import providers
from payflow.settings.admin import UNFOLD as UNFOLD
from payflow.settings.logs import LOGGING as LOGGING

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env = environ.Env()
if os.environ.get("DJANGO_SETTINGS_MODULE") != "payflow.settings.test":
    env.read_env(BASE_DIR / ".env", overwrite=False)

DEBUG = False
SECRET_KEY = env.str("SECRET_KEY", default="")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
VERSION = __version__

INSTALLED_APPS = [
    "payflow.core.apps.CoreConfig",
    "accounts.apps.AccountsConfig",
    "plans.apps.PlansConfig",
    "providers.apps.ProvidersConfig",
    "payments.apps.PaymentsConfig",
    "subscriptions.apps.SubscriptionsConfig",
    "usage.apps.UsageConfig",
    "webhooks.apps.WebhooksConfig",
    "analytics.apps.AnalyticsConfig",
    "portal.apps.PortalConfig",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "django_filters",
    "corsheaders",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "django_structlog",
    "csp",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "payflow.core.pages.ContentPolicy",
    "payflow.core.pages.AdminPolicy",
    "payflow.core.pages.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "payflow.core.pages.SignedIn",
    "django_structlog.middlewares.RequestMiddleware",
    "payflow.core.pages.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "payflow.urls"
WSGI_APPLICATION = "payflow.wsgi.application"
APPEND_SLASH = False  # every path answers with and without the slash; a redirect would lose a webhook
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# Request id, path, status and time: an address is personal data, and the user's id would cost a look-up per request.
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_USER_ID_FIELD = None

# --- PostgreSQL, the only truth -------------------------------------------------------------------------------------

DATABASES = {"default": env.db_url("DATABASE_URL", default="postgres://payflow@localhost:5432/payflow")}
DATABASES["default"].update(
    ENGINE="django.db.backends.postgresql",
    # Persistent connections: opening one per request costs 12 times the request.
    CONN_MAX_AGE=env.int("DATABASE_CONN_MAX_AGE", default=60),
    CONN_HEALTH_CHECKS=True,
    ATOMIC_REQUESTS=False,  # no network inside a transaction
)

# --- Redis: cache, rate limits, broker. May be wiped at any second --------------------------------------------------

REDIS_URL = env.str("REDIS_URL", default="redis://localhost:6379/0")
CACHES: dict[str, dict[str, object]] = (
    {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": {
                "IGNORE_EXCEPTIONS": True,
                "CONNECTION_POOL_KWARGS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
            },
            "KEY_PREFIX": "payflow",
            "TIMEOUT": 300,
        }
    }
    if REDIS_URL
    else {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
)
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default=REDIS_URL or "memory://")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
if CELERY_BROKER_URL.startswith("filesystem:"):
    # The embedded start on a machine without a Redis binary.
    _folder = env.str("PAYFLOW_BROKER_DIR")
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = {
        "data_folder_in": _folder,
        "data_folder_out": _folder,
        "control_folder": f"{_folder}/control",
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 3600,
        "socket_timeout": 5,
        "socket_connect_timeout": 1,
        "max_retries": 0,  # a nudge doesn't wait for a broker that is away
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 300
CELERY_TIMEZONE = "UTC"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# A nudge that cannot be sent at once is dropped: the sweep finds the work.
CELERY_TASK_PUBLISH_RETRY = False

# --- who may come in ------------------------------------------------------------------------------------------------

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/account"
LOGOUT_REDIRECT_URL = "/"
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=env.int("ACCESS_TOKEN_MINUTES", default=30)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=env.int("REFRESH_TOKEN_DAYS", default=14)),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "UPDATE_LAST_LOGIN": True,
    "CHECK_REVOKE_TOKEN": True,  # a new password ends the tokens of the old one
    "ISSUER": "payflow",
    "AUTH_HEADER_TYPES": ("Bearer",),
}
SUPABASE_URL = env.str("SUPABASE_URL", default="")
SUPABASE_ANON_KEY = env.str("SUPABASE_ANON_KEY", default="")
SUPABASE_SERVICE_KEY = env.str("SUPABASE_SERVICE_KEY", default="")
SUPABASE_JWT_SECRET = env.str("SUPABASE_JWT_SECRET", default="")
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/api/.*$"

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin", "/api/docs"],  # the theme's needs (payflow.core.pages) and the docs page's
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# --- the API --------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["payflow.api.json.EnvelopeRenderer"],
    "DEFAULT_PARSER_CLASSES": ["payflow.api.json.ExactJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "accounts.authentication.SupabaseAuthentication",
        "accounts.authentication.TokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PAGINATION_CLASS": "payflow.api.pagination.CursorPages",
    "DEFAULT_FILTER_BACKENDS": ["payflow.api.strict.KnownFilters"],
    "DEFAULT_THROTTLE_CLASSES": ["payflow.api.throttles.PrincipalThrottle"],
    "DEFAULT_SCHEMA_CLASS": "payflow.api.schema.EnvelopeSchema",
    "EXCEPTION_HANDLER": "payflow.api.errors.handle",
    "COERCE_DECIMAL_TO_STRING": False,
    "PAGE_SIZE": 50,
    "NUM_PROXIES": env.int("NUM_PROXIES", default=0),  # proxies of our own whose X-Forwarded-For is believed
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
RATE_LIMIT_API = env.int("RATE_LIMIT_API", default=6000)  # requests a minute and principal
RATE_LIMIT_AUTH = env.int("RATE_LIMIT_AUTH", default=30)  # attempts a minute and address
SPECTACULAR_SETTINGS = {
    "TITLE": "PayFlow",
    "DESCRIPTION": (
        "Subscriptions, payments and paywall. A body with a field that is not listed here, and a list asked with such a "
        "parameter, is 400 VALIDATION_ERROR naming it; of plans and coupons what was read can be sent back whole."
    ),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "GET_LIB_DOC_EXCLUDES": "payflow.api.schema.bases",
    "PREPROCESSING_HOOKS": ["payflow.api.schema.only_versioned_paths"],
    "ENUM_NAME_OVERRIDES": {
        "SubscriptionStatus": "subscriptions.models.Status",
        "CheckoutStatus": "subscriptions.models.CheckoutStatus",
        "InvoiceStatus": "payments.models.InvoiceStatus",
        "PaymentStatus": "payments.models.TransactionStatus",
        "BillingCycle": "plans.models.Cycle",
        "CouponKind": "plans.models.CouponKind",
        "CouponDuration": "plans.models.CouponDuration",
    },
}
SPECTACULAR_SETTINGS["COMPONENT_SPLIT_REQUEST"] = True

# --- PayFlow --------------------------------------------------------------------------------------------------------

PAYFLOW_BASE_URL = env.str("PAYFLOW_BASE_URL", default="http://127.0.0.1:8000").rstrip("/")
APP_URL = env.str("APP_URL", default=PAYFLOW_BASE_URL).rstrip("/")
SUCCESS_URL = env.str("SUCCESS_URL", default=f"{APP_URL}/subscription/success")
CANCEL_URL = env.str("CANCEL_URL", default=f"{APP_URL}/subscription/cancel")
PAYFLOW_TIME_TRAVEL = False
PAYFLOW_DEFAULT_PLAN = env.str("PAYFLOW_DEFAULT_PLAN", default="")
CHECKOUT_LIFETIME = timedelta(hours=env.int("CHECKOUT_LIFETIME_HOURS", default=24))
GRACE_DAYS = env.int("GRACE_DAYS", default=7)
DUNNING_DAYS = env.list("DUNNING_DAYS", cast=int, default=[2, 7, 14, 21])
TRIAL_NOTICE_DAYS = env.int("TRIAL_NOTICE_DAYS", default=3)  # 0 announces nothing
MISSED_PERIODS = env.str("MISSED_PERIODS", default="bill_all")  # bill_all | bill_current | forgive
MAX_CHARGES_PER_DAY = env.int("MAX_CHARGES_PER_DAY", default=2)  # of one subscription, while periods are caught up
PRORATION_UNIT = env.str("PRORATION_UNIT", default="second")  # second | day, unless the plan says
CHARGEBACK_OPENED = env.str("CHARGEBACK_OPENED", default="stop_charging")  # stop_charging | suspend | nothing
CHARGEBACK_LOST = env.str("CHARGEBACK_LOST", default="cancel")  # cancel | nothing
FULL_REFUND = env.str("FULL_REFUND", default="cancel")  # cancel | nothing
PARTIAL_REFUND = env.str("PARTIAL_REFUND", default="nothing")  # cancel | nothing
# By commas, what support may refund of one payment: USD:50,EUR:50. Empty is no limit.
SUPPORT_REFUND_LIMIT = env.list("SUPPORT_REFUND_LIMIT", default=[])
# The same of goodwill credit to one customer in 30 days. Empty: support grants none.
SUPPORT_CREDIT_LIMIT = env.list("SUPPORT_CREDIT_LIMIT", default=[])
CUSTOMER_REFUNDS = env.bool("CUSTOMER_REFUNDS", default=False)  # may customers cancel with a refund of unused time?
SUSPENDED_DAYS = env.int("SUSPENDED_DAYS", default=30)
RENEWAL_SLACK_MERCHANT = timedelta(hours=1)
RENEWAL_SLACK_PROVIDER = timedelta(hours=24)
# Who sells, as it stands on invoices; \n in the address begins a new line.
SELLER_NAME = env.str("SELLER_NAME", default="PayFlow")
SELLER_ADDRESS = env.str("SELLER_ADDRESS", default="", multiline=True)
SELLER_TAX_ID = env.str("SELLER_TAX_ID", default="")
UNAPPLIED_PAYMENT = env.str("UNAPPLIED_PAYMENT", default="refund")  # refund (else credit) | credit | review
SWEEP_BATCH = env.int("SWEEP_BATCH", default=100)
# How long an entitlement may be told from Redis where its dropping failed; 0 computes each.
ENTITLEMENT_CACHE_SECONDS = env.int("ENTITLEMENT_CACHE_SECONDS", default=60)
USAGE_LATE_DAYS = env.int("USAGE_LATE_DAYS", default=35)  # how long ago an event of a batch may have occurred
USAGE_AHEAD_MINUTES = env.int("USAGE_AHEAD_MINUTES", default=5)  # by how much the sender's clock may be fast
USAGE_ALERT_THRESHOLDS = env.list("USAGE_ALERT_THRESHOLDS", cast=int, default=[80, 100])  # per cent of a limit
USAGE_LOG_RETENTION_MONTHS = env.int("USAGE_LOG_RETENTION_MONTHS", default=0)  # 0 keeps the log for ever
USAGE_LOG_EXPIRED = env.str("USAGE_LOG_EXPIRED", default="archive")  # archive (tables apart) | drop

PAYFLOW_PROVIDERS: dict[str, dict[str, object]] = providers.configured(env)
PAYFLOW_DEFAULT_PROVIDER = env.str("PAYFLOW_DEFAULT_PROVIDER", default=next(iter(PAYFLOW_PROVIDERS), ""))
SANDBOX_ENABLED = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "portal" / "assets"]
EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="django.core.mail.backends.smtp.EmailBackend")
# smtp+tls://user:password@host:587 (STARTTLS), smtp+ssl://… (TLS from the start), smtp://host:25
_mail = env.email_url("EMAIL_URL", default="smtp://localhost:25")
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"], _mail["EMAIL_PORT"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"] or "", _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="billing@localhost")
# E-mail addresses are unique without regard to case, by a constraint on lower(email) that the check doesn't see.
SILENCED_SYSTEM_CHECKS = ["auth.E003"]
