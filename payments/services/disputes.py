"""Chargebacks: the payer's bank takes a payment back. The provider reports what happens; nobody here decides it.

A dispute is one row from its opening to its end: pending while it is open, completed when it is lost (the money is gone),
failed when it is won. Its reports may come in any order and more than once.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from django.db import transaction

from payflow.core import outbox
from payflow.core.ids import uuid7
from payflow.core.money import Money
from payments import ledger, settlement
from payments.credits import credit_reclaim, payment_standing
from payments.locks import transaction_lock
from payments.models import PaymentTransaction
from payments.state import transaction_move

Status = PaymentTransaction.Status
Type = PaymentTransaction.Type


class DisputeOutcome(StrEnum):
    OPENED = "opened"
    LOST = "lost"
    WON = "won"


_STATUS = {
    DisputeOutcome.OPENED: Status.PENDING,
    DisputeOutcome.LOST: Status.COMPLETED,
    DisputeOutcome.WON: Status.FAILED,
}
_EVENTS = {
    DisputeOutcome.OPENED: "payment.disputed",
    DisputeOutcome.LOST: "payment.dispute_lost",
    DisputeOutcome.WON: "payment.dispute_won",
}


def dispute_report(
    *,
    provider: str,
    charge_txn_id: str,
    dispute_txn_id: str,
    money: Money | None,
    outcome: DisputeOutcome,
    at: datetime,
) -> PaymentTransaction | None:
    """Records what the provider says of a dispute; the same again, or an opening after the end, changes nothing.

    `money` None is the whole charge, or what was reported before; what is lost is what the report of the loss says. What
    is lost stays lost, whatever is reported before or after it; the caller sees it by the row's status. Returns None
    where no such payment of ours is completed. Raises ValueError for money that cannot be the charge's.
    """
    charge_id = (
        PaymentTransaction.objects.filter(
            provider=provider,
            type=Type.CHARGE,
            provider_txn_id=charge_txn_id,
            status__in=[Status.COMPLETED, Status.REFUNDED],
        )
        .values_list("pk", flat=True)
        .first()
    )
    if charge_id is None:
        return None
    with transaction.atomic():
        charge = transaction_lock(charge_id)
        # Read under the charge's lock, under which alone it is written.
        dispute = PaymentTransaction.objects.filter(
            provider=provider, type=Type.CHARGEBACK, provider_txn_id=dispute_txn_id
        ).first()
        if dispute is None:
            dispute = _new_dispute(charge, dispute_txn_id, money, _STATUS[outcome], at)
        elif dispute.parent_id != charge.pk:
            raise ValueError("the dispute is another payment's")
        elif not _is_news(dispute, outcome):
            return dispute
        else:
            if outcome == DisputeOutcome.LOST and money is not None:
                dispute.amount = _checked(money, charge).amount
            transaction_move(dispute, _STATUS[outcome])
            dispute.completed_at = at
            dispute.save()
        if outcome == DisputeOutcome.LOST:
            taken = Money(dispute.amount, dispute.currency)
            credit_reclaim(charge, at=at)
            unapplied = min(_unapplied(charge), taken)
            if unapplied:
                # Which part was never ours is known now only: the proof of the books reads it here.
                dispute.metadata = {**dispute.metadata, "unapplied": str(unapplied.amount)}
                dispute.save(update_fields=["metadata"])
            ledger.post([ledger.chargeback(dispute, unapplied=unapplied)], at=at)
        outbox.emit(
            type=_EVENTS[outcome],
            subject_type="payment",
            subject_id=charge.pk,
            payload={
                "dispute": str(dispute.pk),
                "amount": str(Money.rounded(dispute.amount, dispute.currency).amount),
                "currency": dispute.currency,
            },
            at=at,
        )
        settlement.disputed(charge=charge, reversal=dispute, at=at)
    return dispute


def _is_news(dispute: PaymentTransaction, outcome: DisputeOutcome) -> bool:
    """An open dispute ends either way; one that was won can still be lost (a second round at the bank)."""
    match outcome:
        case DisputeOutcome.OPENED:
            return False
        case DisputeOutcome.LOST:
            return dispute.status != Status.COMPLETED
        case DisputeOutcome.WON:
            return dispute.status == Status.PENDING


def _new_dispute(
    charge: PaymentTransaction, dispute_txn_id: str, money: Money | None, status: str, at: datetime
) -> PaymentTransaction:
    money = Money(charge.amount, charge.currency) if money is None else _checked(money, charge)
    key = uuid7()
    return PaymentTransaction.objects.create(
        id=key,
        subscription_id=charge.subscription_id,
        user_id=charge.user_id,
        invoice_id=charge.invoice_id,
        parent=charge,
        provider=charge.provider,
        provider_txn_id=dispute_txn_id,
        type=Type.CHARGEBACK,
        status=status,
        amount=money.amount,
        currency=money.currency,
        payment_method=charge.payment_method,
        idempotency_key=f"reported_{key}",
        completed_at=at if status != Status.PENDING else None,
        created_at=at,
    )


def _checked(money: Money, charge: PaymentTransaction) -> Money:
    if money.currency != charge.currency:
        raise ValueError(f"a dispute in {money.currency} of a payment in {charge.currency}")
    if money.amount <= 0:
        raise ValueError("a dispute of no amount")
    return money


def _unapplied(charge: PaymentTransaction) -> Money:
    """What of the charge still waits as unapplied: nothing where it settled an invoice, nor what is credit by now."""
    zero = Money.zero(charge.currency)
    if charge.invoice_id is not None:
        return zero
    return max(Money(charge.amount - charge.refunded_amount, charge.currency) - payment_standing(charge), zero)
