"""Money that goes back, or is disputed."""

from __future__ import annotations

from datetime import datetime

from payflow.core.errors import UnsupportedCurrency
from payflow.core.money import Money
from payments.errors import RefundExceedsPayment
from payments.models import PaymentTransaction
from payments.services.disputes import DisputeOutcome, dispute_report
from payments.services.refund_reversals import refund_reverse
from payments.services.refunds import OVER, TOO_MUCH, refund_report
from providers.base import EventType, ProviderEvent
from subscriptions.services.provider_events.verdicts import PROCESSED, Applied, PaymentNotKnownYet, Verdict


def payment_refunded(event: ProviderEvent, now: datetime) -> Applied:
    if event.amount is None or not event.currency or not event.parent_payment_id or not event.provider_payment_id:
        return Applied(Verdict.REVIEW, "a refund without its payment, id or amount")
    try:
        refund = refund_report(
            provider=event.provider,
            charge_txn_id=event.parent_payment_id,
            refund_txn_id=event.provider_payment_id,
            money=Money(event.amount, event.currency),
            idempotency_key=event.idempotency_key,
            at=now,
        )
    except (RefundExceedsPayment, UnsupportedCurrency, ValueError) as error:
        return Applied(Verdict.REVIEW, str(error))
    if refund is None:
        # Its payment may be on its way: tried again, and for an operator where it never comes.
        raise PaymentNotKnownYet("a refund of no payment of ours")
    if OVER in refund.metadata:
        return Applied(Verdict.REVIEW, TOO_MUCH)
    return PROCESSED


def payment_refund_reversed(event: ProviderEvent, now: datetime) -> Applied:
    if not event.parent_payment_id or not event.provider_payment_id:
        return Applied(Verdict.REVIEW, "a refund that came back, without its payment or id")
    try:
        refund = refund_reverse(
            provider=event.provider,
            charge_txn_id=event.parent_payment_id,
            refund_txn_id=event.provider_payment_id,
            idempotency_key=event.idempotency_key,
            at=now,
        )
    except ValueError as error:
        return Applied(Verdict.REVIEW, str(error))
    if refund is None:
        raise PaymentNotKnownYet("a refund that came back, and is not known to have been made")
    return PROCESSED


_DISPUTES = {
    EventType.PAYMENT_DISPUTED: DisputeOutcome.OPENED,
    EventType.PAYMENT_DISPUTE_LOST: DisputeOutcome.LOST,
    EventType.PAYMENT_DISPUTE_WON: DisputeOutcome.WON,
}


def payment_disputed(event: ProviderEvent, now: datetime) -> Applied:
    if not event.parent_payment_id or not event.provider_payment_id:
        return Applied(Verdict.REVIEW, "a dispute without its payment or id")
    outcome = _DISPUTES[event.type]
    try:
        dispute = dispute_report(
            provider=event.provider,
            charge_txn_id=event.parent_payment_id,
            dispute_txn_id=event.provider_payment_id,
            money=Money(event.amount, event.currency) if event.amount is not None and event.currency else None,
            outcome=outcome,
            at=now,
        )
    except (UnsupportedCurrency, ValueError) as error:
        return Applied(Verdict.REVIEW, str(error))
    if dispute is None:
        raise PaymentNotKnownYet("a dispute of no payment of ours")
    if outcome == DisputeOutcome.WON and dispute.status == PaymentTransaction.Status.COMPLETED:
        return Applied(Verdict.REVIEW, "a dispute that was lost is reported as won")
    return PROCESSED
