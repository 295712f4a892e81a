"""Middleware for pages: what a browser with cookies needs, and a client of the API does not.

Requests of the API and webhooks carry their credentials in headers and are answered in JSON. No session is looked for with
them, so no cookie can ever let anybody in there, and none of this costs them anything (a tenth of a paywall request).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

#: Where no page lies.
WITHOUT_PAGES = ("/api/v1/", "/webhooks/")

#: Of /admin, which the site's own policy leaves out. The theme's Alpine evaluates its attributes ('unsafe-eval'), and its
#: colours are inline styles; scripts come from here.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class AdminPolicy:
    """Middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path.startswith("/admin"):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


class _OnPages(MiddlewareMixin):
    """Before a middleware of that sort: elsewhere it is passed by."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(WITHOUT_PAGES):
            return self.get_response(request)
        return super().__call__(request)


class ContentPolicy(_OnPages, CSPMiddleware):
    """The site's policy (CONTENT_SECURITY_POLICY)."""


class Sessions(_OnPages, SessionMiddleware):
    """The session of a browser."""


class SignedIn(_OnPages, AuthenticationMiddleware):
    """Who is signed in by a session. In the API `request.user` is set by its own authentication."""


class Messages(_OnPages, MessageMiddleware):
    """What the next page tells."""
