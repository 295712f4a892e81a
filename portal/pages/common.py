"""What every page needs: the frame around it, who is reading, and how a refusal is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from accounts.models import User
from payflow.api.throttles import AuthThrottle
from payflow.core.errors import Code, DomainError
from portal import wording

#: What a customer reads where the error's own sentence is written for programmers.
_SENTENCES = {
    Code.ALREADY_SUBSCRIBED: "You already have a subscription. Choose another plan to change it.",
    Code.PROVIDER_UNAVAILABLE: "The payment provider did not answer. You have not been charged twice; please try again.",
    Code.PAYMENT_DECLINED: "The payment was declined. Please ask your bank, or try again later.",
    Code.PAYMENT_IN_PROGRESS: "A payment is already under way. Please reload this page in a moment.",
    Code.PROVIDER_MANAGED: "This subscription is managed at the payment provider.",
}


class SeeOther(HttpResponseRedirect):
    """303: the browser goes on with GET, so that reloading repeats nothing."""

    status_code = 303


def show(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, now: datetime, status: int = 200
) -> HttpResponse:
    """A page in its frame. In debug the frame has a bar that tells the test clock's time."""
    frame = {"clock": wording.minute(now, "UTC")} if settings.DEBUG and settings.SANDBOX_ENABLED else {}
    return render(request, template, {**frame, **context}, status=status)


def reader(request: HttpRequest) -> User:
    """Who is signed in, behind `login_required`."""
    assert isinstance(request.user, User), "the view is behind login_required"
    return request.user


def reader_or_none(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def acting(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """POST only. Whose session has ended comes back to the account: an address that takes only POST cannot be `next`."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect_to_login(reverse("portal:account"))
        return view(request, *args, **kwargs)

    return require_POST(guarded)


def actor(user: User) -> str:
    return f"user:{user.pk}"


def next_page(request: HttpRequest) -> str:
    """Where the reader wanted to go: a path of this host, else the account. A foreign `next` is ignored."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else reverse("portal:account")


def seconds_to_wait(request: HttpRequest) -> int:
    """Counts one attempt with those at the API's `auth/…`: 0 where it may pass, else how long to wait."""
    throttle = AuthThrottle()
    if throttle.allow_request(request):
        return 0
    return math.ceil(throttle.wait() or 1)


def tell_refusal(request: HttpRequest, error: DomainError) -> None:
    """The refusal as a message on the next page."""
    text = _SENTENCES.get(error.code) or wording.sentence(error.details) or str(error.message)
    url = error.details.get("manage_url") if isinstance(error.details, dict) else None
    if url and str(url).startswith("https://"):
        text = format_html('{} <a href="{}">Manage it there</a>.', text, url)
    messages.error(request, text)
