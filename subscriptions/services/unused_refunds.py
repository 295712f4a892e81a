"""Giving back what of the paid time will not be lived. Inside the caller's transaction, under the subscription's lock."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction

from django.db.models import F

from payflow.core.money import Money
from payments.credits import grant_write
from payments.models import CreditSource, Invoice, PaymentTransaction
from payments.services.refunds import refund_reserve
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.unused import paid_by, proration_unit, unused


def unused_time_refund(subscription: Subscription, *, actor: str, now: datetime) -> list[uuid.UUID]:
    """Reserves refunds of the unused time, of the newest payments first, and returns them to be sent after the commit.

    Only payments that this time was bought with are refunded. What credit had paid comes back as credit. Raises
    RefundNotSupported.
    """
    ahead = list(
        BillingPeriod.objects.filter(subscription=subscription, superseded_at=None, end__gt=now)
        .select_related("invoice")
        .order_by("start")
    )
    unit = proration_unit(subscription.plan)
    parts = [unused(row, at=now, unit=unit, tz=subscription.timezone) for row in ahead]
    rest = Money.zero(subscription.currency)
    tax = Money.zero(subscription.currency)
    for part in parts:
        rest, tax = rest + part.gross, tax + part.tax
    worth, reserved = rest, []
    for charge in _payments([row.invoice for row in ahead if row.invoice is not None]):
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
            tax=Money.of_fraction(Fraction(tax.amount) * Fraction(rest.amount) / Fraction(worth.amount), rest.currency),
            explanation={"parts": [part.explanation for part in parts]},
        )
    return reserved


def _payments(invoices: Iterable[Invoice]) -> list[PaymentTransaction]:
    charges = PaymentTransaction.objects.filter(
        invoice__in={each.pk for invoice in invoices for each in paid_by(invoice)},
        type=PaymentTransaction.Type.CHARGE,
        status=PaymentTransaction.Status.COMPLETED,
        refunded_amount__lt=F("amount"),
    )
    return list(charges.order_by("-completed_at", "-pk"))
