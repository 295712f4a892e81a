"""One's own account: what there is, and the things one can do about it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from payflow.core import clock
from payflow.core.errors import DomainError
from payments.models import Invoice
from payments.pdf import invoice_download
from portal.account import account
from portal.cards import PAYABLE, subscriptions_of
from portal.pages.common import SeeOther, acting, actor, reader, show, tell_refusal
from subscriptions.models import Status, Subscription
from subscriptions.services.cancel import subscription_cancel, subscription_uncancel
from subscriptions.services.pauses import subscription_pause, subscription_resume
from subscriptions.services.planned import plan_change_withdraw
from subscriptions.services.preferences import preferences_update
from subscriptions.services.retry import payment_retry


@never_cache
@login_required
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    now = clock.now()
    return show(request, "portal/account.html", {"account": account(reader(request), now)}, now=now)


@never_cache
@login_required
@require_safe
def invoice_pdf(request: HttpRequest, invoice_id: str) -> HttpResponse:
    """One's own invoice as a document; what was never issued has none."""
    issued = Invoice.objects.filter(user=reader(request), number__isnull=False).prefetch_related("lines")
    return invoice_download(get_object_or_404(issued, pk=invoice_id))


@acting
def cancel(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Cancels; time that is paid for is kept."""
    row = _own(request, subscription_id)
    try:
        row = subscription_cancel(subscription_id=row.pk, at_once=False, actor=actor(reader(request)), now=clock.now())
    except DomainError as refusal:
        tell_refusal(request, refusal)
        return _back()
    ended = row.status == Status.CANCELLED
    messages.success(request, "Cancelled." if ended else "Cancelled. You keep access until the end of the paid time.")
    return _back()


@acting
def keep(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Takes a cancellation back."""
    row = _own(request, subscription_id)
    try:
        subscription_uncancel(subscription_id=row.pk, actor=actor(reader(request)), now=clock.now())
    except DomainError as refusal:
        tell_refusal(request, refusal)
    else:
        messages.success(request, "Good to have you. Your subscription goes on.")
    return _back()


@acting
def keep_plan(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Takes a planned change of plan back."""
    row = _own(request, subscription_id)
    try:
        plan_change_withdraw(subscription_id=row.pk, actor=actor(reader(request)), now=clock.now())
    except DomainError as refusal:
        tell_refusal(request, refusal)
    else:
        messages.success(request, f"You keep {row.plan.name}.")
    return _back()


@acting
def pause(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Pauses until it is resumed; what is left of the paid time becomes credit."""
    row = _own(request, subscription_id)
    try:
        subscription_pause(subscription_id=row.pk, resumes_at=None, actor=actor(reader(request)), now=clock.now())
    except DomainError as refusal:
        tell_refusal(request, refusal)
    else:
        messages.success(request, "Paused. What was left of your paid time is your credit now.")
    return _back()


@acting
def resume(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Ends a pause. Without money it is past due, and the page says so."""
    row = _own(request, subscription_id)
    try:
        row = subscription_resume(subscription_id=row.pk, actor=actor(reader(request)), now=clock.now())
    except DomainError as refusal:
        tell_refusal(request, refusal)
        return _back()
    if row.status == Status.ACTIVE:
        messages.success(request, "Welcome back. Your subscription goes on.")
    return _back()


@acting
def pay_otherwise(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Gives the stored method up, so that what is due is paid on the provider's page, with another one."""
    row = _own(request, subscription_id)
    try:
        if row.status in PAYABLE:
            changes = {"payment_method_id": None}
            preferences_update(subscription_id=row.pk, changes=changes, actor=actor(reader(request)), now=clock.now())
    except DomainError as refusal:
        tell_refusal(request, refusal)
        return _back()
    return pay(request, subscription_id)


@acting
def pay(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Pays what is due: at once with the stored method, else on the provider's page."""
    row = _own(request, subscription_id)
    try:
        retried = payment_retry(subscription_id=row.pk, actor=actor(reader(request)), now=clock.now())
    except DomainError as refusal:
        confirm = refusal.details.get("action_url") if isinstance(refusal.details, dict) else None
        if confirm:  # the payer's bank wants him to confirm
            return SeeOther(confirm)
        tell_refusal(request, refusal)
        return _back()
    if retried.checkout is not None and retried.checkout.url:
        return SeeOther(retried.checkout.url)
    messages.success(request, "Paid. Thank you.")
    return _back()


def _own(request: HttpRequest, subscription_id: str) -> Subscription:
    """Somebody else's is 404, for operators too: they act in the admin."""
    return get_object_or_404(subscriptions_of(reader(request)), pk=subscription_id)


def _back() -> HttpResponse:
    return SeeOther(reverse("portal:account"))
