"""Choosing a plan and paying for it."""

from __future__ import annotations

from datetime import datetime

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.templatetags.static import static
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.generic import View

from accounts.models import User
from payflow.core import clock
from payflow.core.errors import Code, DomainError, NotFound
from plans.models import Plan
from plans.selectors import plan_get, plans_on_sale
from portal.cards import PAYABLE, RUNNING, subscription_cards, subscriptions_present
from portal.forms import OrderForm
from portal.offers import Offer, OrderQuote, order_quote, plan_card, plan_cards, provider_choices, tax_note
from portal.pages.common import SeeOther, actor, reader, reader_or_none, show, tell_refusal
from subscriptions.errors import CouponNotApplicable
from subscriptions.models import Status, Subscription
from subscriptions.services.subscribe import subscription_create

#: The page after a payment asks every 2 s for a minute, then every 10 s, and gives up after some ten minutes.
QUICK_TRIES, TRIES = 30, 90
QUICK_SECONDS, SLOW_SECONDS = 2, 10


@require_safe
def pricing(request: HttpRequest) -> HttpResponse:
    user = reader_or_none(request)
    context = {"plans": plan_cards(user), "tax": tax_note(user)}
    return show(request, "portal/pricing.html", context, now=clock.now())


# Who chooses a plan without an account is most likely new: the page to sign up leads on to logging in.
@method_decorator([never_cache, login_required(login_url="portal:signup")], name="dispatch")
class SubscribeView(View):
    """Says what will be paid, then begins it."""

    def get(self, request: HttpRequest, code: str) -> HttpResponse:
        plan = _plan(code)
        user = reader(request)
        card = plan_card(plan, user)
        if card.offer is Offer.CURRENT:
            messages.info(request, f"{plan.name} is your plan already.")
            return SeeOther(reverse("portal:account"))
        return _order(request, plan, user, _form(plan, user), now=clock.now())

    def post(self, request: HttpRequest, code: str) -> HttpResponse:
        """To the provider's page, or to the account where nothing is to be paid. A refusal is told, not raised.

        The button that asks for the price alone shows the page again, and so does an order at another price than the page
        showed.
        """
        plan, user, now = _plan(code), reader(request), clock.now()
        form = _form(plan, user, request.POST)
        if not form.is_valid():
            return _order(request, plan, user, form, now=now, status=400)
        if "look" in request.POST:
            return _order(request, plan, user, form, now=now)
        quote = _quote(plan, user, form, now)
        if form.errors:
            return _order(request, plan, user, form, now=now, status=400)
        if quote is not None and request.POST.get("shown", quote.shown) != quote.shown:
            messages.error(request, "The price is another now. Please look again.")
            return _order(request, plan, user, form, now=now)
        try:
            subscribed = subscription_create(
                user_id=user.pk,
                plan=plan,
                provider=form.chosen("provider") or None,
                currency=None,
                coupon=form.chosen("coupon") or None,
                country=form.chosen("country") or None,
                success_url=request.build_absolute_uri(reverse("portal:success")),
                cancel_url=request.build_absolute_uri(reverse("portal:abandoned")),
                actor=actor(user),
                now=now,
            )
        except DomainError as refusal:
            tell_refusal(request, refusal)
            taken = refusal.code is Code.ALREADY_SUBSCRIBED
            return SeeOther(reverse("portal:account") if taken else reverse("portal:subscribe", args=[plan.code]))
        if subscribed.checkout is not None and subscribed.checkout.url:
            return SeeOther(subscribed.checkout.url)
        if subscribed.checkout is None:
            messages.success(request, f"Welcome to {plan.name}.")
        return SeeOther(reverse("portal:account"))


@never_cache
@require_safe
def success(request: HttpRequest) -> HttpResponse:
    """Where the provider sends a payer. Says that it is paid only once we know: until then the page asks again."""
    now = clock.now()
    user = reader_or_none(request)
    if user is None:  # an app's customer may have no session here
        return show(request, "portal/success.html", {"state": "anonymous"}, now=now)
    rows = subscriptions_present(user)
    if waiting := next((row for row in rows if row.status == Status.PENDING or row.status in PAYABLE), None):
        context = {"state": "waiting", "plan": waiting.plan.name, **_next_try(request)}
        return show(request, "portal/success.html", context, now=now)
    running = next((row for row in rows if row.status in RUNNING), None)
    if running is None:
        return show(request, "portal/success.html", {"state": "nothing"}, now=now)
    [card] = subscription_cards([running], user.timezone, now)
    context = {"state": "active", "card": card}
    return show(request, "portal/success.html", context, now=now)


@never_cache
@require_safe
def abandoned(request: HttpRequest) -> HttpResponse:
    """Where the provider sends somebody who left without paying."""
    user = reader_or_none(request)
    pending = _pending(user) if user else None
    again = reverse("portal:subscribe", args=[pending.plan.code]) if pending else reverse("portal:pricing")
    context = {"again": again, "plan": pending.plan.name if pending else ""}
    return show(request, "portal/abandoned.html", context, now=clock.now())


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """For pages that name no icon of their own."""
    return HttpResponseRedirect(static("portal/logo.svg"))


def _form(plan: Plan, user: User, data: object = None) -> OrderForm:
    return OrderForm(data, choices=provider_choices(plan, user), country=user.country)


def _order(
    request: HttpRequest, plan: Plan, user: User, form: OrderForm, *, now: datetime, status: int = 200
) -> HttpResponse:
    card = plan_card(plan, user)
    quote = _quote(plan, user, form, now) if card.offer in (Offer.SUBSCRIBE, Offer.CONTINUE) else None
    context = {"plan": card, "form": form, "quote": quote}
    return show(request, "portal/subscribe.html", context, now=now, status=400 if form.errors else status)


def _quote(plan: Plan, user: User, form: OrderForm, now: datetime) -> OrderQuote | None:
    """What the form's order costs. A coupon that is refused is told at its field, and the price is the one without it.

    None where nothing is charged, and where the order itself tells what is in its way.
    """
    if plan.is_free:
        return None
    try:
        return order_quote(
            plan,
            user,
            provider=form.chosen("provider"),
            coupon=form.chosen("coupon"),
            country=form.chosen("country"),
            now=now,
        )
    except CouponNotApplicable as refusal:
        form.add_error("coupon", f"{refusal.message}.")  # which takes the field's value away
        return _quote(plan, user, form, now)
    except DomainError:
        return None


def _plan(code: str) -> Plan:
    try:
        return plan_get(code, among=plans_on_sale())
    except NotFound as error:
        raise Http404 from error


def _pending(user: User) -> Subscription | None:
    return next((row for row in subscriptions_present(user) if row.status == Status.PENDING), None)


def _next_try(request: HttpRequest) -> dict[str, object]:
    """When the page asks again, counted in its own address: no script, no session."""
    given = request.GET.get("try", "")
    tries = int(given) if given.isascii() and given.isdigit() and len(given) < 5 else 0
    if tries >= TRIES:
        return {"slow": True, "refresh": ""}
    seconds = QUICK_SECONDS if tries < QUICK_TRIES else SLOW_SECONDS
    return {
        "slow": tries >= QUICK_TRIES,
        "refresh": f"{seconds}; url={reverse('portal:success')}?try={tries + 1}",
    }
