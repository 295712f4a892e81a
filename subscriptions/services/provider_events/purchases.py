"""Purchases whose price and periods the provider sets: the stores', and those of plans kept at a provider.

The product's `PlanProviderRef` is the check; amount, currency and period are recorded as they are reported. A store
purchase is never refused: beside a paid subscription it stands with `overlaps`, and access takes the better.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from payflow.core.money import Money
from payments.composition import LineDraft
from payments.invoices import claim, claims_issue, invoice_void
from payments.models import Invoice, InvoiceLine, PaymentTransaction
from payments.services.incoming import ReportedPayment, payment_apply, payment_record_unapplied
from plans.models import Plan, PlanProviderRef
from providers.base import ProviderEvent
from subscriptions.billing import Source
from subscriptions.locks import subscription_lock
from subscriptions.models import LIVE, Checkout, Status, Subscription, TrialRedemption
from subscriptions.periods import Period
from subscriptions.provider_periods import period_place
from subscriptions.services.changes import change_done, open_change
from subscriptions.services.commands import command_acknowledge
from subscriptions.services.move_closing import is_left_behind
from subscriptions.services.provider_events.matching import known_payment, method_of
from subscriptions.services.provider_events.owners import Owner, is_replaced, link_current, owner_lock
from subscriptions.services.provider_events.verdicts import PROCESSED, Applied, Verdict
from subscriptions.services.subscribe import is_replaceable, live_replace
from subscriptions.standing import ended_at, is_outdated, runs, stands
from subscriptions.state import SYSTEM, is_sold_by_provider, subscription_start


def purchase_paid(event: ProviderEvent, money: Money, now: datetime) -> Applied:
    """Money for a period that the provider chose: booked, and the subscription runs to its end.

    Raises OwnerNotKnownYet where nobody has attached the purchase.
    """
    with transaction.atomic():
        owner = owner_lock(event)
        if (known := known_payment(event)) is not None:
            waits = known.invoice_id is None and known.status == PaymentTransaction.Status.COMPLETED
            return Applied(Verdict.REVIEW, f"unapplied: {known.reason}") if waits else PROCESSED
        plan, period = _plan(event), _period(event)
        misfit = "no plan has this product" if plan is None else "a payment without its period" if not period else None
        if owner.subscription and period and is_left_behind(owner.subscription, event.provider, period):
            misfit = "the subscription is at another provider"
        if misfit is not None or plan is None or period is None:
            payment_record_unapplied(payment=_reported(event, money, owner, now), reason=str(misfit), at=now)
            return Applied(Verdict.REVIEW, f"unapplied: {misfit}")
        subscription = owner.subscription or _begin(event, owner, plan, money, period, now)
        replaced = is_replaced(subscription, event) and event.replaces is None
        _close_checkout(owner.checkout or _attempt(subscription), now)
        invoice = _internal_invoice(event, subscription, plan, money, period, now)
        payment = _reported(event, money, Owner(owner.user, subscription, owner.checkout), now)
        payment_apply(payment=payment, invoice=invoice, at=now)
        _sell(subscription, plan, money)
        period_place(
            subscription,
            period,
            invoice=invoice,
            source=Source.PROVIDER,
            not_after=ended_at(subscription, event.occurred_at),
            at=now,
        )
        if not replaced:
            link_current(subscription, event)
        first = subscription.status in (Status.PENDING, Status.EXPIRED, Status.CANCELLED)
        fields = {"payment_method": payment.method} if payment.method else {}
        runs(
            subscription,
            occurred_at=event.occurred_at,
            reason="purchased" if first else "recovered",
            at=now,
            **fields,
        )
        if (change := open_change(subscription)) is not None and change.plan_id == subscription.plan_id:
            change_done(change, at=now)
        if event.unacknowledged:
            command_acknowledge(subscription, at=now)
    return Applied(Verdict.REVIEW, "the purchase names another user") if owner.named_other else PROCESSED


def purchase_tried(event: ProviderEvent, now: datetime) -> Applied:
    """A store's free trial: it lasts as long as the store says. Raises OwnerNotKnownYet."""
    with transaction.atomic():
        owner = owner_lock(event)
        plan, period = _plan(event), _period(event)
        if plan is None or period is None:
            return Applied(Verdict.REVIEW, "no plan has this product" if plan is None else "a trial without its period")
        price = Money(plan.price, plan.currency)  # the store asks its own after the trial
        subscription = owner.subscription or _begin(event, owner, plan, price, period, now)
        TrialRedemption.objects.get_or_create(
            user_id=subscription.user_id, family=subscription.family, defaults={"subscription": subscription}
        )
        _close_checkout(owner.checkout, now)
        if not is_replaced(subscription, event) or event.replaces:
            link_current(subscription, event)
        if subscription.periods.filter(source=Source.TRIAL, start=period.start).exists():
            return PROCESSED
        period_place(
            subscription,
            period,
            invoice=None,
            source=Source.TRIAL,
            not_after=ended_at(subscription, event.occurred_at),
            at=now,
        )
        if not is_outdated(subscription, event.occurred_at, Status.TRIAL) and subscription.status in (
            Status.PENDING,
            Status.TRIAL,
        ):
            stands(
                subscription,
                Status.TRIAL,
                occurred_at=event.occurred_at,
                reason="trial_started",
                at=now,
                start_date=period.start,
                anchor=period.end,
                current_period_start=period.start,
                trial_ends_at=period.end,
                end_date=period.end,
            )
        if event.unacknowledged:
            command_acknowledge(subscription, at=now)
    return PROCESSED


def _plan(event: ProviderEvent) -> Plan | None:
    if not event.provider_plan_ref:
        return None
    refs = PlanProviderRef.objects.filter(provider=event.provider, ref=event.provider_plan_ref)
    found = refs.select_related("plan").first()
    return found.plan if found else None


def _period(event: ProviderEvent) -> Period | None:
    start, end = event.period_start, event.period_end
    return Period(start, end) if start is not None and end is not None and start < end else None


def _begin(event: ProviderEvent, owner: Owner, plan: Plan, money: Money, period: Period, now: datetime) -> Subscription:
    """The subscription of a purchase that nobody knew of. What is free, or tried unpaid, gives way to it."""
    rows = Subscription.objects.filter(user=owner.user, family=plan.family, status__in=LIVE, overlaps=None)
    live = rows.first()
    if live is not None and is_replaceable(live):
        live_replace(subscription_lock(live.pk), actor=SYSTEM, now=now)
        live = None
    trial = event.is_trial
    subscription = Subscription(
        user=owner.user,
        plan=plan,
        family=plan.family,
        status=Status.TRIAL if trial else Status.ACTIVE,
        provider=event.provider,
        start_date=period.start,
        end_date=period.end,
        anchor=period.start,
        timezone=owner.user.timezone,
        current_period_start=period.start,
        trial_ends_at=period.end if trial else None,
        amount=money.amount,
        currency=money.currency,
        billing_cycle=plan.billing_cycle,
        billing_interval=plan.billing_interval,
        overlaps=live,
        created_at=now,
    )
    subscription_start(subscription, reason="trial_started" if trial else "purchased", actor=SYSTEM, at=now)
    return subscription


def _sell(subscription: Subscription, plan: Plan, money: Money) -> None:
    """What the next period row copies."""
    subscription.plan = plan
    subscription.amount, subscription.currency = money.amount, money.currency
    subscription.billing_cycle, subscription.billing_interval = plan.billing_cycle, plan.billing_interval


def _internal_invoice(
    event: ProviderEvent, subscription: Subscription, plan: Plan, money: Money, period: Period, now: datetime
) -> Invoice:
    """An invoice of what was sold, as reported. It has no number of ours where the provider is the seller."""
    line = LineDraft(
        kind=InvoiceLine.Kind.PLAN,
        description=plan.name,
        amount=money,
        unit_amount=money,
        period_start=period.start,
        period_end=period.end,
        explanation={
            "formula": "as the provider reports it",
            "provider": event.provider,
            "product": event.provider_plan_ref,
            "payment": event.provider_payment_id,
        },
    )
    first = not subscription.periods.exclude(invoice=None).exists()
    made = claim(
        user_id=subscription.user_id,
        subscription_id=subscription.pk,
        reason=Invoice.Reason.CREATE if first else Invoice.Reason.CYCLE,
        lines=[line],
        period_start=period.start,
        period_end=period.end,
        at=now,
        merchant_of_record=is_sold_by_provider(subscription),
    )
    claims_issue([made], at=now)
    return made.invoice


def _reported(event: ProviderEvent, money: Money, owner: Owner, now: datetime) -> ReportedPayment:
    assert event.provider_payment_id is not None
    return ReportedPayment(
        provider=event.provider,
        provider_txn_id=event.provider_payment_id,
        money=money,
        user_id=owner.user.pk,
        subscription_id=owner.subscription.pk if owner.subscription else None,
        method=method_of(event, owner.user.pk, now),
        raw=event.raw,
    )


def _attempt(subscription: Subscription) -> Checkout | None:
    """The attempt that this money ends: a provider may name its own subscription only, and not our reference."""
    if subscription.status != Status.PENDING:
        return None
    open_ones = [Checkout.Status.OPEN, Checkout.Status.UNKNOWN]
    return subscription.checkouts.filter(purpose=Checkout.Purpose.SUBSCRIBE, status__in=open_ones).first()


def _close_checkout(checkout: Checkout | None, now: datetime) -> None:
    """Its page did what it was for; our own draft asked for what the provider has invoiced."""
    if checkout is None or checkout.status == Checkout.Status.PAID:
        return
    checkout.status, checkout.paid_at = Checkout.Status.PAID, now
    checkout.save()
    if checkout.invoice is not None and checkout.invoice.status == Invoice.Status.DRAFT:
        invoice_void(checkout.invoice, at=now)
