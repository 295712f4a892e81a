"""Refunds that come back: the payer's bank could not take the money, and the provider has it again."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db import transaction

from payflow.core import outbox
from payflow.core.money import Money
from payments import ledger, settlement
from payments.credits import REVOKED, TAKEN_BACK, credit_reclaim, grant_write
from payments.locks import transaction_lock
from payments.models import CreditGrant, PaymentTransaction
from payments.services.refunds import OVER, TAKEN, over_of
from payments.state import transaction_move

Status = PaymentTransaction.Status
Type = PaymentTransaction.Type
#: Why an operator is asked to look: its payer is owed what did not arrive.
CAME_BACK = "a refund came back"


def refund_reverse(
    *, provider: str, charge_txn_id: str, refund_txn_id: str, idempotency_key: str | None, at: datetime
) -> PaymentTransaction | None:
    """The provider reports that a refund came back: it is reversed in the books, once. Returns None where it is not known.

    One of ours that was never heard to be made (found by its key) is reversed before it was booked, and never is. What the
    refund had taken, and the time that has ended with it, become credit, as far as its money is there. Raises ValueError for
    another payment's refund.
    """
    refunds = PaymentTransaction.objects.filter(provider=provider, type=Type.REFUND)
    found = refunds.filter(provider_txn_id=refund_txn_id).first()
    if found is None and idempotency_key:
        found = refunds.filter(idempotency_key=idempotency_key, provider_txn_id=None).first()
    if found is None:
        return None
    with transaction.atomic():
        refund = transaction_lock(found.pk)
        assert refund.parent_id is not None
        charge = PaymentTransaction.objects.get(pk=refund.parent_id)  # locked with the refund
        if charge.provider_txn_id != charge_txn_id:
            raise ValueError("the refund is another payment's")
        if refund.status == Status.REVERSED:
            return refund
        was = refund.status
        transaction_move(refund, Status.REVERSED)
        refund.provider_txn_id = refund_txn_id
        refund.save()
        if was == Status.PENDING:
            charge.refunded_amount -= refund.amount  # its reservation
            charge.save()
        elif was == Status.COMPLETED:
            _unbook(refund, charge, at)
        if was != Status.FAILED:  # of what was refused an operator was told, and has done what he would
            settlement.refund_reversed(charge=charge, reversal=refund, at=at)
            credit_reclaim(charge, at=at)  # more may have gone back since
        settlement.refund_amiss(charge=charge, reason=CAME_BACK, at=at)
        outbox.emit(
            type="payment.refund_reversed",
            subject_type="payment",
            subject_id=charge.pk,
            payload={"refund": str(refund.pk), "amount": str(refund.amount), "currency": refund.currency},
            at=at,
        )
    return refund


def _unbook(refund: PaymentTransaction, charge: PaymentTransaction, at: datetime) -> None:
    freed = refund.amount - over_of(refund)
    freed -= _absorbed(charge, freed)
    charge.refunded_amount -= freed
    if charge.status == Status.REFUNDED and charge.refunded_amount < charge.amount:
        transaction_move(charge, Status.COMPLETED)
    charge.save()
    unapplied = Money.zero(charge.currency) if charge.invoice_id else Money(freed, charge.currency)
    ledger.post([ledger.refund_reversed(refund, unapplied=unapplied)], at=at)
    _give_back(refund, at)


def _absorbed(charge: PaymentTransaction, freed: Decimal) -> Decimal:
    """How much of what is free again other refunds had moved beyond what was left: now it is theirs."""
    left = freed
    others = charge.children.filter(type=Type.REFUND, status=Status.COMPLETED, metadata__has_key=OVER)
    for other in others.order_by("created_at", "pk"):
        part = min(left, over_of(other))
        left -= part
        other.metadata = {**other.metadata, OVER: str(over_of(other) - part)}
        other.save(update_fields=["metadata"])
    return freed - left


def _give_back(refund: PaymentTransaction, at: datetime) -> None:
    """The credit for unused time that the refund had taken."""
    taken = refund.metadata.get(TAKEN, {})
    for grant in CreditGrant.objects.filter(pk__in=list(taken)).order_by("created_at", "pk"):
        money = Money(Decimal(taken[str(grant.pk)]), grant.currency)
        tax = Fraction(grant.tax) * Fraction(money.amount) / Fraction(grant.amount)
        grant_write(
            user_id=refund.user_id,
            money=money,
            source=CreditGrant.Source(grant.source),
            reason=grant.reason,
            key=f"refund_reversed:{refund.pk}:{grant.pk}",
            at=at,
            tax=Money.of_fraction(tax, grant.currency),
            explanation={name: each for name, each in grant.explanation.items() if name not in (REVOKED, TAKEN_BACK)},
        )
