"""Giving back what of the paid time will not be lived. Inside the caller's transaction, under the subscription's lock."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db.models import F

from payflow.core.money import Money
from payments.credits import grant_write
from payments.models import CreditSource, PaymentTransaction
from payments.services.refunds import refund_reserve
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.unused import proration_unit, unused


def unused_time_refund(subscription: Subscription, *, actor: str, now: datetime) -> list[uuid.UUID]:
    """Reserves refunds of the unused time, of the newest payments first, and returns them to be sent after the commit.

    What credit had paid comes back as credit. Raises RefundNotSupported.
    """
    ahead = BillingPeriod.objects.filter(subscription=subscription, superseded_at=None, end__gt=now)
    unit = proration_unit(subscription.plan)
    parts = [
        unused(row, at=now, unit=unit, tz=subscription.timezone)
        for row in ahead.select_related("invoice").order_by("start")
    ]
    rest = Money.zero(subscription.currency)
    tax = Money.zero(subscription.currency)
    for part in parts:
        rest, tax = rest + part.gross, tax + part.tax
    reserved = []
    for charge in _payments(subscription):
        amount = min(rest.amount, charge.amount - charge.refunded_amount)
        if not amount:
            break
        refund = refund_reserve(
            charge_id=charge.pk,
            amount=amount,
            reason="unused time",
            actor=actor,
            key=f"refund_unused_{subscription.pk}_{charge.pk}_{now.isoformat()}",
            at=now,
        )
        reserved.append(refund.pk)
        rest -= Money(amount, rest.currency)
    if rest:
        grant_write(
            user_id=subscription.user_id,
            money=rest,
            source=CreditSource.UNUSED_TIME,
            reason=f"Unused time of {subscription.plan.name}",
            key=f"cancel:{subscription.pk}:{now.isoformat()}",
            at=now,
            tax=min(tax, rest),
            explanation={"parts": [part.explanation for part in parts]},
        )
    return reserved


def _payments(subscription: Subscription) -> list[PaymentTransaction]:
    charges = PaymentTransaction.objects.filter(
        subscription=subscription,
        type=PaymentTransaction.Type.CHARGE,
        status=PaymentTransaction.Status.COMPLETED,
        invoice__isnull=False,
        refunded_amount__lt=F("amount"),
    )
    return list(charges.order_by("-completed_at", "-pk"))
