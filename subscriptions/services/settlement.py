"""What money does to a subscription. Called by `payments` inside the transaction that moved the money."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings

from payflow.core import outbox
from payments.models import Invoice, PaymentTransaction
from subscriptions.billing import Source, first_period, period_record, supersede_periods
from subscriptions.locks import subscription_lock
from subscriptions.models import BillingPeriod, Checkout, Status, Subscription
from subscriptions.state import dunning_start, grace_end, subscription_move, subscription_update

SYSTEM = "system"


def lock(subscription_id: uuid.UUID) -> None:
    subscription_lock(subscription_id)


def on_paid(*, invoice: Invoice, transaction: PaymentTransaction, at: datetime) -> None:
    """The invoice of a period is settled: its period is paid for, and the subscription runs to its end."""
    if invoice.subscription_id is None:
        return
    subscription = subscription_lock(invoice.subscription_id)
    period = BillingPeriod.objects.filter(invoice=invoice, superseded_at=None).first()
    if period is None:
        return
    # Paid after access had ended: the subscriber gets a whole period from now, on a new anchor. Not while it is active:
    # then we, or the news, are late, and periods are billed one after another.
    restarts = subscription.status == Status.SUSPENDED or (subscription.status == Status.PAST_DUE and period.end <= at)
    if restarts:
        supersede_periods(subscription, invoice, at=at)
        period = period_record(
            subscription, first_period(subscription, at), invoice=invoice, source=Source.RESUME, at=at
        )
    first = subscription.status in (Status.PENDING, Status.EXPIRED, Status.CANCELLED)
    # What else was offered to pay it with is open no more; who pays there all the same has paid twice.
    Checkout.objects.filter(
        invoice=invoice, purpose=Checkout.Purpose.INVOICE, status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN]
    ).update(status=Checkout.Status.SUPERSEDED)
    fields: dict[str, Any] = {
        "current_period_start": period.start,
        "end_date": period.end,
        "grace_until": None,
        "suspended_at": None,
        "dunning_from": None,
        "dunning_step": 0,
    }
    if first:
        fields |= {"start_date": period.start, "cancelled_at": None, "auto_renew": True}
    if first or restarts:
        fields["anchor"] = period.start
    if transaction.method_id is not None:
        fields["payment_method_id"] = transaction.method_id
    if subscription.status == Status.ACTIVE:
        subscription_update(subscription, **fields)
    else:
        reason = "paid" if first else "renewed" if subscription.status == Status.TRIAL else "recovered"
        subscription_move(subscription, Status.ACTIVE, reason=reason, actor=SYSTEM, at=at, **fields)
    if not first:
        outbox.emit(
            type="subscription.renewed",
            subject_type="subscription",
            subject_id=subscription.pk,
            payload={"invoice": str(invoice.pk), "period_end": period.end.isoformat()},
            at=at,
        )


def on_failed(*, invoice: Invoice, transaction: PaymentTransaction, at: datetime) -> None:
    """A charge was declined: grace begins. What can't succeed (a hard decline) isn't tried again on schedule."""
    if invoice.subscription_id is None or invoice.status != Invoice.Status.OPEN:
        return
    subscription = subscription_lock(invoice.subscription_id)
    steps: dict[str, Any] = {} if transaction.recoverable else {"dunning_step": len(settings.DUNNING_DAYS)}
    if subscription.status == Status.PAST_DUE:
        subscription_update(subscription, **steps)
    elif subscription.status in (Status.TRIAL, Status.ACTIVE):
        if subscription.cancelled_at is not None or not subscription.auto_renew:
            subscription_update(subscription)  # cancelled while the charge was under way: it ends, no grace begins
        else:
            fall_past_due(subscription, reason="payment_failed", at=at, **steps)


def fall_past_due(subscription: Subscription, *, reason: str, at: datetime, **fields: Any) -> None:
    """The period's invoice is open and unpaid. The caller holds the lock."""
    since = dunning_start(subscription, at)
    subscription_move(
        subscription,
        Status.PAST_DUE,
        reason=reason,
        actor=SYSTEM,
        at=at,
        dunning_from=since,
        grace_until=grace_end(subscription, since),
        **fields,
    )


def on_refunded(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    """A full refund of the period under way ends access now; a partial one changes nothing."""
    if charge.status != PaymentTransaction.Status.REFUNDED or charge.subscription_id is None:
        return
    if charge.invoice_id is None:
        return  # it was never applied to anything
    subscription = subscription_lock(charge.subscription_id)
    current = BillingPeriod.objects.filter(
        subscription=subscription, invoice_id=charge.invoice_id, superseded_at=None, end__gt=at
    ).first()
    if current is None or not subscription.is_live:
        return
    truncate_period(subscription, current, at=at)
    subscription_move(
        subscription,
        Status.CANCELLED,
        reason="refunded",
        actor=SYSTEM,
        at=at,
        cancelled_at=subscription.cancelled_at or at,
        end_date=max(at, subscription.start_date),
        grace_until=None,
    )


def truncate_period(subscription: Subscription, period: BillingPeriod, *, at: datetime) -> None:
    """Ends a period early: the row as it was is superseded and its lived part, if any, takes its place."""
    period.superseded_at = at
    period.save()
    if period.start < at:
        BillingPeriod.objects.create(
            subscription=subscription,
            start=period.start,
            end=at,
            cycle=period.cycle,
            plan_id=period.plan_id,
            amount=period.amount,
            currency=period.currency,
            invoice_id=period.invoice_id,
            source=period.source,
            created_at=at,
        )
