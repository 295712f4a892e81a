"""Subscribing: a free plan is active at once, a paid one waits for its checkout."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import transaction

from accounts.models import User
from accounts.services import user_country_keep
from payflow.core.errors import UnsupportedCurrency, ValidationFailed
from payflow.core.ids import uuid7
from payflow.core.locks import lock_rows
from payflow.core.money import Money
from payments import settlement
from payments.invoices import invoice_issue, invoice_void, invoices_settle
from payments.models import Invoice
from payments.settlement import Settled
from plans.models import Coupon, CouponDuration, Plan
from providers import registry
from providers.base import Provider
from subscriptions.billing import bill_draft, bill_first, current_period, cycle_bill, truncate_period
from subscriptions.errors import AlreadySubscribed, CouponNotApplicable
from subscriptions.locks import user_lock
from subscriptions.models import LIVE, Checkout, CheckoutStatus, Status, Subscription, TrialRedemption
from subscriptions.quotes import plan_price
from subscriptions.services.changes import planned_close
from subscriptions.services.checkouts import checkout_open
from subscriptions.services.move_rules import provider_default
from subscriptions.services.redemptions import (
    coupon_check,
    redemption_activate,
    redemption_release,
    redemption_reserve,
)
from subscriptions.services.trials import trial_begin
from subscriptions.state import is_priced_by_provider, renews_by_itself, subscription_move, subscription_start


class Urls(NamedTuple):
    """Where the provider's page sends the customer afterwards."""

    success: str
    cancel: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """`created` is False where an earlier attempt was resumed."""

    subscription: Subscription
    checkout: Checkout | None
    created: bool


def subscription_create(
    *,
    user_id: uuid.UUID,
    plan: Plan,
    provider: str | None,
    currency: str | None,
    success_url: str,
    cancel_url: str,
    actor: str,
    now: datetime,
    coupon: str | None = None,
    country: str | None = None,
) -> Subscribed:
    """Subscribes a user. Empty URLs mean the settings' own.

    While a subscription is pending the same plan answers the same checkout and another plan supersedes it. There is no
    checkout where nothing is to be paid now: a free plan, a trial that needs no payment method, all of it credit. Raises
    AlreadySubscribed, UnsupportedCurrency, CouponNotApplicable, ValidationFailed (inactive plan, unknown provider or
    country, a provider that sets prices and has no product for the plan), ProviderUnavailable (the attempt is kept and
    resumed by the next call). `country` is kept as the buyer's.
    """
    if not plan.is_active:
        raise ValidationFailed.field("plan_id", "This plan is not sold any more")
    price = plan_price(plan, currency)
    if not price:
        if coupon:
            raise CouponNotApplicable("A free plan needs no coupon")
        with transaction.atomic():
            user = user_lock(user_id)
            return _start_free(user, plan, price, actor=actor, now=now)
    chosen = provider_chosen(provider, plan, price.currency, user_id)
    with transaction.atomic():
        user = user_lock(user_id)
        before = user.country
        if country:
            user_country_keep(user, country)
        taken = coupon_taken(coupon, user, plan, price, chosen, now) if coupon else None
        urls = Urls(success_url or settings.SUCCESS_URL, cancel_url or settings.CANCEL_URL)
        # Who lives elsewhere now pays another tax: an earlier checkout's invoice has that of the country before.
        resume = user.country == before
        attempt = _intend(user, plan, price, chosen, taken, urls, resume=resume, actor=actor, now=now)
    if attempt.checkout is None:
        return attempt
    return replace(attempt, checkout=checkout_open(checkout_id=attempt.checkout.pk))


def provider_chosen(name: str | None, plan: Plan, currency: str, user_id: uuid.UUID) -> Provider:
    """The provider at which the plan is to be bought. Raises ValidationFailed, UnsupportedCurrency."""
    name = name or provider_default(user_id, currency)
    if not name:
        raise ValidationFailed.field("provider", "No payment provider is configured")
    if name not in registry.names():
        raise ValidationFailed.field("provider", f"{name!r} is not a configured payment provider")
    provider = registry.get(name)
    if not provider.capabilities.create:
        raise ValidationFailed.field("provider", f"Subscriptions are not started at {name!r}")
    if not provider.supports_currency(currency):
        raise UnsupportedCurrency(f"{name} does not sell in {currency}", details={"currency": [currency]})
    if is_priced_by_provider(name) and not plan.provider_refs.filter(provider=name).exists():
        raise ValidationFailed.field("plan_id", f"{name!r} sells no product for this plan")
    return provider


def _start_free(user: User, plan: Plan, price: Money, *, actor: str, now: datetime) -> Subscribed:
    live = _live(user, plan.family)
    if live is not None and live.plan_id == plan.pk and live.is_free:
        return Subscribed(live, None, created=False)
    _refuse_paid(live)
    pending_supersede(user, plan.family, actor=actor, now=now)
    if live is not None:
        live_replace(live, actor=actor, now=now)
    subscription = subscription_new(user, plan, price, status=Status.ACTIVE, provider=None, now=now)
    subscription.end_date = None
    subscription.current_period_start = now
    subscription_start(subscription, reason="subscribed", actor=actor, at=now)
    return Subscribed(subscription, None, created=True)


def coupon_taken(code: str, user: User, plan: Plan, price: Money, provider: Provider, now: datetime) -> Coupon:
    coupon = coupon_check(code=code, user_id=user.pk, plan=plan, currency=price.currency, now=now)
    if provider.capabilities.price_set_by == "provider":
        raise CouponNotApplicable("This payment provider sets the price by itself")
    if provider.capabilities.renewal_driver == "provider" and coupon.duration != CouponDuration.FOREVER:
        raise CouponNotApplicable("This payment provider charges the same amount every time")
    return coupon


def _intend(
    user: User,
    plan: Plan,
    price: Money,
    provider: Provider,
    coupon: Coupon | None,
    urls: Urls,
    *,
    resume: bool,
    actor: str,
    now: datetime,
) -> Subscribed:
    """The pending subscription and its checkout, committed before the provider hears of them.

    Without `resume` an earlier attempt is superseded, though it is the same.
    """
    live = _live(user, plan.family)
    _refuse_paid(live)
    checkout = checkout_resumable(user, plan, price, provider, coupon, now) if resume else None
    if checkout is not None and checkout.subscription is not None:
        return Subscribed(checkout.subscription, checkout, created=False)
    pending_supersede(user, plan.family, actor=actor, now=now)
    subscription = subscription_new(user, plan, price, status=Status.PENDING, provider=provider.name, now=now)
    subscription_start(subscription, reason="subscribed", actor=actor, at=now)
    if coupon is not None:
        redemption_reserve(subscription, coupon, now=now)
    trial_days = trial_days_of(user, plan, provider)
    if trial_days and not plan.trial_needs_method:
        if live is not None:
            live_replace(live, actor=actor, now=now)
        trial_begin(subscription, days=trial_days, method=None, at=now)
        return Subscribed(subscription, None, created=True)
    invoice = None
    if not trial_days:
        invoice = bill_draft(cycle_bill(subscription, None, Invoice.Reason.CREATE), at=now)
        if not invoice.total and not renews_by_itself(subscription):
            if live is not None:
                live_replace(live, actor=actor, now=now)
            _start_paid(subscription, invoice, now)
            return Subscribed(Subscription.objects.get(pk=subscription.pk), None, created=True)
    checkout = Checkout.objects.create(
        user=user,
        purpose=Checkout.Purpose.SUBSCRIBE,
        subscription=subscription,
        invoice=invoice,
        provider=provider.name,
        order_ref=uuid7().hex,
        plan=plan,
        amount=invoice.total if invoice else price.amount,
        currency=price.currency,
        trial_days=trial_days,
        coupon=coupon,
        success_url=urls.success,
        cancel_url=urls.cancel,
        expires_at=now + settings.CHECKOUT_LIFETIME,
    )
    return Subscribed(subscription, checkout, created=True)


def _start_paid(subscription: Subscription, draft: Invoice, now: datetime) -> None:
    """Credit and discount leave nothing to pay: the first period begins without a checkout."""
    redemption_activate(subscription)
    invoice = bill_first(subscription, draft, at=now)
    invoice_issue(invoice, at=now)
    invoices_settle([invoice], at=now)
    settlement.paid([Settled(invoice, None)], at=now)


def is_replaceable(live: Subscription) -> bool:
    """A free subscription never blocks a paid one, nor does a trial that nobody will be charged for."""
    return live.is_free or (live.status == Status.TRIAL and live.payment_method_id is None)


def live_replace(live: Subscription, *, actor: str, now: datetime) -> None:
    """What is free, or tried without a method, ends where another takes its place. The caller holds its lock."""
    planned_close(live, at=now)
    running = current_period(live, now)
    if running is not None:
        truncate_period(running, at=now)
    end = max(now, live.start_date)  # clocks of two machines differ
    subscription_move(live, Status.EXPIRED, reason="replaced", actor=actor, at=now, end_date=end)


def _live(user: User, family: str) -> Subscription | None:
    """What is live, read under its lock; what is pending, which may be superseded, is locked with it."""
    rows = lock_rows(Subscription.objects.filter(user=user, family=family, status__in=[*LIVE, Status.PENDING]))
    return next((row for row in rows if row.is_live and row.overlaps_id is None), None)


def _refuse_paid(live: Subscription | None) -> None:
    if live is not None and not is_replaceable(live):
        raise AlreadySubscribed(details={"subscription_id": str(live.pk), "plan_id": str(live.plan_id)})


def checkout_resumable(
    user: User, plan: Plan, price: Money, provider: Provider, coupon: Coupon | None, now: datetime
) -> Checkout | None:
    """The user's open checkout of just this, with which subscribing goes on."""
    pending = Subscription.objects.filter(user=user, family=plan.family, status=Status.PENDING).first()
    if pending is None or (pending.plan_id, pending.provider) != (plan.pk, provider.name):
        return None
    if Money(pending.amount, pending.currency) != price:
        return None
    checkout = pending.checkouts.filter(
        purpose=Checkout.Purpose.SUBSCRIBE,
        status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN],
        coupon=coupon,
        expires_at__gt=now,
    )
    return checkout.select_related("invoice", "subscription").first()


def pending_supersede(user: User, family: str, *, actor: str, now: datetime) -> None:
    for pending in Subscription.objects.filter(user=user, family=family, status=Status.PENDING):
        checkouts_close(pending, Checkout.Status.SUPERSEDED, now=now)
        subscription_move(pending, Status.CANCELLED, reason="superseded", actor=actor, at=now, cancelled_at=now)


def checkouts_close(subscription: Subscription, to: CheckoutStatus, *, now: datetime) -> None:
    """Closes the open checkouts of a subscription, voids their drafts and gives its coupon back. The caller holds its lock."""
    redemption_release(subscription)
    for checkout in subscription.checkouts.filter(
        status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN]
    ).select_related("invoice"):
        checkout.status = to
        checkout.save()
        if checkout.invoice is not None and checkout.invoice.status == Invoice.Status.DRAFT:
            invoice_void(checkout.invoice, at=now)


def subscription_new(
    user: User, plan: Plan, price: Money, *, status: Status, provider: str | None, now: datetime
) -> Subscription:
    """The row that subscribing would write; not saved."""
    return Subscription(
        user=user,
        plan=plan,
        family=plan.family,
        status=status,
        provider=provider,
        start_date=now,
        end_date=now,
        anchor=now,
        timezone=user.timezone,
        amount=price.amount,
        currency=price.currency,
        billing_cycle=plan.billing_cycle,
        billing_interval=plan.billing_interval,
        created_at=now,
    )


def trial_days_of(user: User, plan: Plan, provider: Provider) -> int:
    """One trial per user and family; with a method only where the provider keeps one without charging it."""
    days = trial_days_at(provider, plan)
    return 0 if days and TrialRedemption.objects.filter(user=user, family=plan.family).exists() else days


def trial_days_at(provider: Provider, plan: Plan) -> int:
    """Those of somebody's first trial: with a method only where the provider keeps one without charging it."""
    return plan.trial_days if not plan.trial_needs_method or provider.capabilities.trial else 0
