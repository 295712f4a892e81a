"""Every address of the service, with and without the trailing slash; nothing here redirects.

The apps' `urls` modules are named, not imported: this is wiring, the one place that knows all floors.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from payflow import health
from payflow.api.errors import no_such_path

#: Their patterns lie directly under /api/v1 and begin with their own word (`plans/`, `auth/token`, …). What is asked most
#: stands first: addresses are tried one after the other.
API_URLS = [
    "usage.urls",
    "accounts.urls",
    "plans.urls",
    "payments.urls",
    "subscriptions.urls",
    "subscriptions.coupon_urls",
    "analytics.urls",
    "portal.api_urls",
]

handler400 = "payflow.api.errors.bad_request"
handler403 = "payflow.api.errors.permission_denied"
handler404 = "payflow.api.errors.page_not_found"
handler500 = "payflow.api.errors.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    *(path("api/v1/", include(urls)) for urls in API_URLS),
    path("webhooks/", include("webhooks.urls")),
    re_path(r"^health/live/?$", health.live, name="health-live"),
    re_path(r"^health/ready/?$", health.ready, name="health-ready"),
    re_path(r"^metrics/?$", health.metrics, name="metrics"),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^api/docs/?$", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    # The second document's addresses, `/api/subscriptions…`: the same views, outside the schema.
    path("api/", include(("subscriptions.urls", "subscriptions"), namespace="alias")),
    re_path(r"^(?:api|webhooks)(?:/(?s:.*))?$", no_such_path),
    re_path(r"^admin$", RedirectView.as_view(url="/admin/", query_string=True)),
    path("admin/", admin.site.urls),
    path("", include("portal.urls")),
]

if settings.SANDBOX_ENABLED:
    urlpatterns.append(path("sandbox/", include("providers.sandbox.urls")))
