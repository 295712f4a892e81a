"""Money that a provider reports: recorded once, whatever it fits.

The money key (provider, type, provider_txn_id) makes one movement one row. What settles no invoice is posted to unapplied
payments and grants nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from payflow.core.ids import uuid7
from payflow.core.money import Money
from payflow.core.nudges import nudge
from payments import ledger, settlement
from payments.invoices import invoice_issue, invoices_settle
from payments.models import Invoice, PaymentMethod, PaymentTransaction
from payments.settlement import Settled
from providers.base import StoredMethod

Status = PaymentTransaction.Status
Type = PaymentTransaction.Type


@dataclass(frozen=True, slots=True)
class ReportedPayment:
    """A payment as a provider reported it."""

    provider: str
    provider_txn_id: str
    money: Money
    user_id: uuid.UUID
    subscription_id: uuid.UUID | None
    method: PaymentMethod | None
    raw: Mapping[str, Any]


def find_by_money_key(*, provider: str, type: str, provider_txn_id: str) -> PaymentTransaction | None:
    """The transaction of one movement of money, if it is known."""
    return PaymentTransaction.objects.filter(provider=provider, type=type, provider_txn_id=provider_txn_id).first()


def payment_apply(*, payment: ReportedPayment, invoice: Invoice, at: datetime) -> PaymentTransaction:
    """Settles `invoice` (draft or open, of exactly this amount, locked by the caller) and tells who listens."""
    if Money(invoice.total, invoice.currency) != payment.money:
        raise ValueError("the payment is not the invoice's amount")
    with transaction.atomic():
        if invoice.status == Invoice.Status.DRAFT:
            invoice_issue(invoice, at=at)
        charge = _completed(payment, invoice, at)
        invoices_settle([invoice], at=at)
        ledger.post([ledger.charge(charge)], at=at)
        settlement.paid([Settled(invoice, charge)], at=at)
    return charge


def payment_record_unapplied(*, payment: ReportedPayment, reason: str, at: datetime) -> PaymentTransaction:
    """Records money that settles nothing, with the reason, for an operator."""
    with transaction.atomic():
        charge = _completed(payment, None, at, reason=reason)
        ledger.post([ledger.charge(charge)], at=at)
        nudge("payflow.core.tasks.run_sweep", "payments_unapplied")
    return charge


def method_keep(*, user_id: uuid.UUID, provider: str, method: StoredMethod, at: datetime) -> PaymentMethod | None:
    """The stored method that a checkout left behind. None where it is another user's: it is not taken over."""
    kept, _ = PaymentMethod.objects.get_or_create(
        provider=provider,
        method_ref=method.method_ref,
        defaults={
            "user_id": user_id,
            "customer_ref": method.customer_ref,
            "created_at": at,
            # Foreign words, cut to their columns: a long one must not keep money from being recorded.
            "kind": method.kind[:50],
            "brand": method.brand[:50],
            "last4": method.last4[-4:],
        },
    )
    return kept if kept.user_id == user_id else None


def _completed(
    payment: ReportedPayment, invoice: Invoice | None, at: datetime, *, reason: str = ""
) -> PaymentTransaction:
    key = uuid7()
    return PaymentTransaction.objects.create(
        id=key,
        subscription_id=payment.subscription_id,
        user_id=payment.user_id,
        invoice=invoice,
        provider=payment.provider,
        provider_txn_id=payment.provider_txn_id,
        type=Type.CHARGE,
        status=Status.COMPLETED,
        amount=payment.money.amount,
        currency=payment.money.currency,
        method=payment.method,
        payment_method=payment.method.kind if payment.method else None,
        idempotency_key=f"reported_{key}",
        reason=reason,
        gateway_response=_storable(payment.raw) or None,
        completed_at=at,
        created_at=at,
    )


def _storable(value: Any) -> Any:
    """The provider's words as a JSON column takes them, whatever they are: no NUL, no half characters, numbers as text."""
    if isinstance(value, Mapping):
        return {_text(name): _storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    return _text(value)


def _text(value: Any) -> str:
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()
