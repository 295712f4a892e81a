"""Another plan for a subscription that runs: what it costs, and the change itself, to the cent."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View

from accounts.models import User
from payflow.core import clock
from payflow.core.errors import DomainError, NotFound
from plans.models import Plan
from plans.selectors import plan_get, plans_on_sale
from portal import wording
from portal.cards import subscriptions_of
from portal.offers import usage_prices, usage_shown
from portal.pages.common import SeeOther, actor, reader, show, tell_refusal
from subscriptions.change_quotes import Effective
from subscriptions.models import LIVE, Subscription
from subscriptions.services.plan_change import Preview, plan_change, plan_change_preview


@method_decorator([never_cache, login_required], name="dispatch")
class ChangeView(View):
    """GET shows the invoice that the change would make; POST makes it, if it is still that one."""

    def get(self, request: HttpRequest, code: str) -> HttpResponse:
        user, now = reader(request), clock.now()
        plan = _plan(code)
        row = _live(user, plan)
        if row is None:
            return SeeOther(reverse("portal:subscribe", args=[plan.code]))
        try:
            preview = plan_change_preview(subscription_id=row.pk, plan=plan, when=None, currency=None, now=now)
        except DomainError as refusal:
            tell_refusal(request, refusal)
            return SeeOther(reverse("portal:account"))
        return show(request, "portal/change.html", _told(row, plan, preview, user.timezone), now=now)

    def post(self, request: HttpRequest, code: str) -> HttpResponse:
        user = reader(request)
        plan = _plan(code)
        row = _live(user, plan)
        if row is None:
            return SeeOther(reverse("portal:subscribe", args=[plan.code]))
        units = usage_shown(plan, row.currency)
        if request.POST.get("units", units) != units:
            return _priced_anew(request, plan)
        try:
            quoted_at, total, next_amount = _quoted(request)
            changed = plan_change(
                subscription_id=row.pk,
                plan=plan,
                when=None,
                currency=None,
                quoted_at=quoted_at,
                total=total,
                next_amount=next_amount,
                actor=actor(user),
                now=clock.now(),
            )
        except ValueError:
            return SeeOther(reverse("portal:change", args=[plan.code]))
        except DomainError as refusal:
            if isinstance(refusal.details, dict) and {"quoted_at", "total", "next_amount"} & refusal.details.keys():
                return _priced_anew(request, plan)
            tell_refusal(request, refusal)
            return SeeOther(reverse("portal:account"))
        if changed.checkout is not None and changed.checkout.url:
            return SeeOther(changed.checkout.url)
        at_once = changed.subscription.plan_id == plan.pk
        messages.success(
            request, f"You have {plan.name} now." if at_once else f"{plan.name} follows at the period's end."
        )
        return SeeOther(reverse("portal:account"))


def _priced_anew(request: HttpRequest, plan: Plan) -> HttpResponse:
    messages.error(request, "The price is another by now. Please look again.")
    return SeeOther(reverse("portal:change", args=[plan.code]))


def _plan(code: str) -> Plan:
    try:
        return plan_get(code, among=plans_on_sale())
    except NotFound as error:
        raise Http404 from error


def _live(user: User, plan: Plan) -> Subscription | None:
    """The one that would change. Who has none, or a free one, subscribes instead."""
    row = subscriptions_of(user).filter(status__in=LIVE, family=plan.family).order_by("-pk").first()
    return None if row is None or row.is_free else row


def _quoted(request: HttpRequest) -> tuple[datetime, Decimal, Decimal]:
    """Raises ValueError for what our own page didn't send."""
    quoted_at = parse_datetime(request.POST.get("quoted_at", ""))
    try:
        total, next_amount = (Decimal(request.POST.get(name, "")) for name in ("total", "next_amount"))
    except InvalidOperation as error:
        raise ValueError("total") from error
    if quoted_at is None or quoted_at.tzinfo is None or not (total.is_finite() and next_amount.is_finite()):
        raise ValueError("quoted_at")
    return quoted_at, total, next_amount


def _told(row: Subscription, plan: Plan, preview: Preview, timezone: str) -> dict[str, object]:
    quote, claim = preview.quote, preview.claim
    currency = quote.price.currency
    total = claim.invoice.total if claim else Decimal(0)
    every = wording.cycle(plan.billing_cycle, plan.billing_interval)
    return {
        "plan": plan.name,
        "present": row.plan.name,
        "price": "Free" if plan.is_free else f"{wording.price(quote.price.amount, currency)} {every}",
        "usage": usage_prices(plan, row.currency),
        "units": usage_shown(plan, row.currency),
        "later": wording.day(quote.effective_at, timezone) if quote.effective == Effective.PERIOD_END else None,
        "lines": [(line.description, wording.money(line.amount, currency)) for line in claim.lines] if claim else [],
        "due": wording.money(total, currency) if total else "Nothing",
        "credit": wording.money(quote.rest.amount, currency) if quote.rest.amount else "",
        "quoted_at": quote.quoted_at.isoformat(),
        "total": total,
        "next_amount": quote.price.amount,
    }
