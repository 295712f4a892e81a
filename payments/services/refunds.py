"""Giving money back: reserved on the charge, asked of the provider under our key, applied once.

No answer leaves the refund pending with its reservation; it is sent again under the same key until the provider answers.
Where refunds have no key it is never sent again (`unkeyed_refunds`).
Where the provider has no refunds by API, one that was made by hand is recorded.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from payflow.core import audit, outbox
from payflow.core.errors import InvalidTransition, ProviderUnavailable, ValidationFailed
from payflow.core.ids import uuid7
from payflow.core.money import Money, has_currency_scale
from payments import ledger, settlement
from payments.credits import credit_reclaim, owed_reclaim, payment_standing
from payments.errors import PaymentInProgress, RefundExceedsPayment, RefundNotSupported
from payments.locks import transaction_lock
from payments.models import CreditSource, PaymentTransaction
from payments.selectors import is_disputed
from payments.services.unkeyed_refunds import (
    THEIR_ID,
    is_looked_for,
    refund_lay_back,
    refund_look_for,
    refund_remember,
    refund_take,
)
from payments.state import transaction_move
from payments.support_limits import check_refund_limit
from providers import registry
from providers.base import Provider, ProviderError, RefundResult, RequestRefused, UnknownReference

Status = PaymentTransaction.Status
Type = PaymentTransaction.Type

#: In a refund's metadata: what it moved beyond what was left of its charge, and the credit that it took, by grant.
OVER, TAKEN = "over", "taken"
#: Why an operator is asked to look at a refund's subscription.
REFUSED = "a refund was refused"
OTHER_AMOUNT = "a refund moved another amount than was asked for"
TOO_MUCH = "more was refunded than had been paid"

log = logging.getLogger(__name__)


def refund_create(
    *,
    charge_id: uuid.UUID,
    amount: Decimal | None,
    reason: str,
    actor: str,
    at: datetime,
    request_id: uuid.UUID | None = None,
) -> PaymentTransaction:
    """Refunds a completed charge, `amount` None being the whole rest; the same `request_id` again is the same refund.

    Raises InvalidTransition for what is not a completed charge or is disputed, RefundExceedsPayment, RefundNotSupported,
    Forbidden (above the actor's limit), ValidationFailed, ProviderUnavailable (the refund stays pending, and the
    sweep sends it again or asks).
    """
    key = f"refund_{request_id or uuid7()}_{charge_id}"
    with transaction.atomic():
        transaction_lock(charge_id)
        refund = PaymentTransaction.objects.filter(idempotency_key=key).first()
        if refund is None:
            refund = refund_reserve(charge_id=charge_id, amount=amount, reason=reason, actor=actor, key=key, at=at)
    refund = refund_send(refund_id=refund.pk, at=at)
    if refund.status == Status.PENDING:
        raise ProviderUnavailable(
            "The refund is recorded; the provider has not answered yet", details={"id": str(refund.pk)}
        )
    if refund.status == Status.FAILED:
        raise InvalidTransition("The provider refused the refund", details={"reason": refund.failure_code})
    return refund


def refund_reserve(
    *, charge_id: uuid.UUID, amount: Decimal | None, reason: str, actor: str, key: str, at: datetime
) -> PaymentTransaction:
    """The pending refund, its amount reserved on the charge; `refund_send` follows the commit. Raises as `refund_create`."""
    with transaction.atomic():
        charge = transaction_lock(charge_id)
        wanted = _refundable(charge, amount, actor=actor)
        if charge.provider not in registry.names():
            raise RefundNotSupported(f"{charge.provider} is not configured", details={"provider": charge.provider})
        if not _by_api(charge, wanted):
            raise RefundNotSupported(details={"provider": charge.provider})
        refund = _new_refund(charge, wanted, key=key, reason=reason, at=at)
        _audit("payment.refund", charge, refund, actor=actor)
    return refund


def refund_record_manual(
    *,
    charge_id: uuid.UUID,
    amount: Decimal | None,
    reason: str,
    actor: str,
    at: datetime,
    request_id: uuid.UUID | None = None,
) -> PaymentTransaction:
    """Records that a charge was given back by hand (in the provider's cabinet, by a transfer): no provider is asked.

    Only where the provider has no such refund by API: there, money that goes back twice would be easy. The same
    `request_id` again is the same refund. Raises InvalidTransition for that, for what is not a completed charge or is
    disputed; RefundExceedsPayment, Forbidden, ValidationFailed.
    """
    key = f"manual_{request_id or uuid7()}_{charge_id}"
    with transaction.atomic():
        charge = transaction_lock(charge_id)
        refund = PaymentTransaction.objects.filter(idempotency_key=key).first()
        if refund is not None:
            return refund
        wanted = _refundable(charge, amount, actor=actor)
        if charge.provider in registry.names() and _by_api(charge, wanted):
            raise InvalidTransition(f"{charge.provider} gives it back itself: refund it there")
        refund = _new_refund(charge, wanted, key=key, reason=reason, at=at)
        _audit("payment.refund_manual", charge, refund, actor=actor)
        _complete(refund, charge, f"manual:{refund.pk}", at)
    return refund


def _refundable(charge: PaymentTransaction, amount: Decimal | None, *, actor: str) -> Decimal:
    """How much of the charge, which the caller has locked, goes back: `amount`, or all that is left of it."""
    if charge.type != Type.CHARGE or charge.status not in (Status.COMPLETED, Status.REFUNDED):
        raise InvalidTransition("Only a completed payment can be refunded")
    if is_disputed(charge):
        raise InvalidTransition("A payment that is disputed cannot be refunded: it would go back twice")
    # What became customer credit is not paid out as well: it is taken back first. The provider may have done it all the same,
    # hence no less than nothing.
    rest = max(charge.amount - charge.refunded_amount - payment_standing(charge).amount, Decimal(0))
    wanted = rest if amount is None else amount
    if not has_currency_scale(wanted, charge.currency) or wanted < 0 or amount == 0:
        raise ValidationFailed.field("amount", f"A positive amount of {charge.currency}")
    if wanted > rest or rest == 0:
        raise RefundExceedsPayment(details={"refundable": str(Money.rounded(rest, charge.currency).amount)})
    check_refund_limit(charge, wanted, actor=actor)
    return wanted


def _by_api(charge: PaymentTransaction, wanted: Decimal) -> bool:
    caps = registry.get(charge.provider).capabilities
    return caps.refund_full if wanted == charge.amount else caps.refund_partial


def _audit(action: str, charge: PaymentTransaction, refund: PaymentTransaction, *, actor: str) -> None:
    audit.record(
        actor=actor,
        action=action,
        subject_type="payment",
        subject_id=charge.pk,
        data={"refund": str(refund.pk), "amount": str(refund.amount), "reason": refund.reason},
    )


def _new_refund(
    charge: PaymentTransaction, amount: Decimal, *, key: str, reason: str, at: datetime
) -> PaymentTransaction:
    """A pending refund whose amount is reserved on its charge, which the caller has locked."""
    charge.refunded_amount += amount
    charge.save()
    return PaymentTransaction.objects.create(
        subscription_id=charge.subscription_id,
        user_id=charge.user_id,
        invoice_id=charge.invoice_id,
        parent=charge,
        provider=charge.provider,
        type=Type.REFUND,
        amount=amount,
        currency=charge.currency,
        payment_method=charge.payment_method,
        idempotency_key=key,
        reason=reason,
        created_at=at,
    )


def refund_settle(*, refund_id: uuid.UUID, made: bool, reason: str, actor: str, at: datetime) -> PaymentTransaction:
    """An operator has looked at the provider whether a refund without an answer was made, and says so.

    Raises InvalidTransition for any that does not wait for that.
    """
    with transaction.atomic():
        refund = transaction_lock(refund_id)
        if not is_looked_for(refund):
            raise InvalidTransition("Only a refund whose answer is lost is settled by hand")
        audit.record(
            actor=actor,
            action="payment.refund_settled",
            subject_type="payment",
            subject_id=refund.pk,
            data={"made": made, "amount": str(refund.amount), "reason": reason},
        )
        result = RefundResult("succeeded", f"settled:{refund.pk}") if made else RefundResult("failed", None)
        return refund_apply(refund_id=refund_id, result=result, at=at)


def refund_send(*, refund_id: uuid.UUID, at: datetime, lost: bool = False) -> PaymentTransaction:
    """Asks the provider for a committed pending refund and applies its answer. Outside any transaction.

    `lost`: whoever may have sent it before waits for its answer no more.
    """
    refund = PaymentTransaction.objects.select_related("parent").get(pk=refund_id)
    if refund.status != Status.PENDING:
        return refund
    charge = refund.parent
    assert charge is not None and charge.provider_txn_id is not None, "a completed charge has the provider's id"
    provider = registry.get(refund.provider)
    if provider.capabilities.unkeyed_refunds and not refund_take(refund_id=refund_id, at=at):
        return _look_up(refund, provider, lost=lost, at=at)
    try:
        result = provider.refund(
            provider_txn_id=charge.provider_txn_id,
            amount=refund.amount,
            currency=refund.currency,
            reason=refund.reason,
            idempotency_key=refund.idempotency_key,
        )
    except (RequestRefused, UnknownReference) as error:
        log.warning("refund %s refused: %s", refund.pk, type(error).__name__)
        result = RefundResult("failed", None)
    except ProviderError as error:
        log.warning("refund %s unknown: %s", refund.pk, type(error).__name__)
        if not error.may_be_done:
            refund_lay_back(refund_id=refund_id)
        return refund
    if result.status == "pending" and result.provider_refund_id:
        refund_remember(refund_id=refund_id, provider_refund_id=result.provider_refund_id)
    return refund_apply(refund_id=refund_id, result=result, at=at)


def _look_up(refund: PaymentTransaction, provider: Provider, *, lost: bool, at: datetime) -> PaymentTransaction:
    """What became of a refund that somebody has sent, and that must not be sent again."""
    refund.refresh_from_db()
    their_id = refund.metadata.get(THEIR_ID)
    if refund.status != Status.PENDING or (their_id is None and not lost):
        return refund
    try:
        if their_id is None:
            raise UnknownReference("no answer has named it")
        result = provider.find_refund(their_id)
    except UnknownReference:
        refund_look_for(refund_id=refund.pk, at=at)
        return refund
    except ProviderError as error:
        log.warning("refund %s unknown: %s", refund.pk, type(error).__name__)
        return refund
    return refund_apply(refund_id=refund.pk, result=result, at=at)


def refund_apply(*, refund_id: uuid.UUID, result: RefundResult, at: datetime) -> PaymentTransaction:
    """Writes the provider's answer to a refund. Applying it twice changes nothing.

    What has moved is written, whatever was asked for. Raises ValueError for an amount that the currency cannot have.
    """
    with transaction.atomic():
        refund = transaction_lock(refund_id)
        if refund.status not in (Status.PENDING, Status.FAILED) or result.status == "pending":
            return refund
        assert refund.parent_id is not None
        charge = PaymentTransaction.objects.get(pk=refund.parent_id)  # locked with the refund
        moved = refund.amount if result.amount is None else result.amount
        if moved < 0 or not has_currency_scale(moved, refund.currency):
            raise ValueError(f"a refund of {moved} {refund.currency}")
        if refund.status == Status.PENDING:
            charge.refunded_amount -= refund.amount  # its reservation
        if result.status == "failed" or not moved:
            if refund.status == Status.PENDING:
                transaction_move(refund, Status.FAILED)
                refund.failure_code = "refused"
                refund.save()
                charge.save()
                settlement.refund_amiss(charge=charge, reason=REFUSED, at=at)
            return refund
        # One that was recorded as refused may have been made all the same, when its money had gone back another way.
        over = max(moved - (charge.amount - charge.refunded_amount), Decimal(0))
        charge.refunded_amount += moved - over
        if moved != refund.amount:
            refund.metadata = {**refund.metadata, "asked": str(refund.amount)}
            refund.amount = moved
        if over:
            refund.metadata = {**refund.metadata, OVER: str(over)}
        _complete(refund, charge, result.provider_refund_id, at)
        if over:
            settlement.refund_amiss(charge=charge, reason=TOO_MUCH, at=at)
        elif "asked" in refund.metadata:
            settlement.refund_amiss(charge=charge, reason=OTHER_AMOUNT, at=at)
        return refund


def _complete(
    refund: PaymentTransaction, charge: PaymentTransaction, provider_refund_id: str | None, at: datetime
) -> None:
    # A provider without ids for refunds: the cumulative amount tells one from the next.
    refunded = _refunded(charge) + refund.amount
    transaction_move(refund, Status.COMPLETED)
    refund.provider_txn_id = provider_refund_id or f"{charge.provider_txn_id}:{refunded.normalize():f}"
    refund.completed_at = at
    refund.save()
    if charge.status == Status.COMPLETED and _refunded(charge) >= charge.amount:
        transaction_move(charge, Status.REFUNDED)
    charge.save()
    taken: dict[str, Decimal] = defaultdict(Decimal)
    for grant, money in [
        *owed_reclaim(charge, Money(refund.amount - over_of(refund), refund.currency), at=at),
        *credit_reclaim(charge, at=at),
    ]:
        if grant.source == CreditSource.UNUSED_TIME:
            taken[str(grant.pk)] += money.amount
    if taken:  # should the refund come back, so does this
        refund.metadata = {**refund.metadata, TAKEN: {key: str(amount) for key, amount in taken.items()}}
        refund.save(update_fields=["metadata"])
    zero = Money.zero(refund.currency)
    unapplied = zero if charge.invoice_id else Money(refund.amount - over_of(refund), refund.currency)
    ledger.post([ledger.refund(refund, unapplied=unapplied)], at=at)
    outbox.emit(
        type="payment.refunded",
        subject_type="payment",
        subject_id=charge.pk,
        payload={"refund": str(refund.pk), "amount": str(refund.amount), "currency": refund.currency},
        at=at,
    )
    settlement.refunded(charge=charge, reversal=refund, at=at)


def over_of(refund: PaymentTransaction) -> Decimal:
    """What the refund moved beyond what was left of its charge."""
    return Decimal(refund.metadata.get(OVER, 0))


def _refunded(charge: PaymentTransaction) -> Decimal:
    """What has gone back of the charge, and no more than that."""
    done = charge.children.filter(type=Type.REFUND, status=Status.COMPLETED)
    return sum((refund.amount - over_of(refund) for refund in done), start=Decimal(0))


def refund_report(
    *, provider: str, charge_txn_id: str, refund_txn_id: str, money: Money, idempotency_key: str | None, at: datetime
) -> PaymentTransaction | None:
    """A refund that the provider reports: completes ours that it is about, or records one made at the provider.

    A key names the refund, ours or somebody else's; only news without one is ours by its amount. Returns None where the
    charge is unknown. Raises RefundExceedsPayment where it is more than what is left; PaymentInProgress where one of ours
    without an answer may yet be refused and leave room for it; ValueError for money that cannot be the charge's, or the
    refund's.
    """
    charge_id = (
        PaymentTransaction.objects.filter(provider=provider, type=Type.CHARGE, provider_txn_id=charge_txn_id)
        .values_list("pk", flat=True)
        .first()
    )
    if charge_id is None:
        return None
    with transaction.atomic():
        charge = transaction_lock(charge_id)
        if (found := _reported(charge, refund_txn_id)) is not None:
            return found
        if money.currency != charge.currency:
            raise ValueError(f"a refund in {money.currency} of a payment in {charge.currency}")
        if money.amount <= 0:
            raise ValueError("a refund of no amount")
        refund = _ours(charge, money, idempotency_key)
        if refund is None:
            _check_room(charge, money, refund_txn_id)
            refund = _new_refund(charge, money.amount, key=f"reported_{uuid7()}", reason="made at the provider", at=at)
        return refund_apply(refund_id=refund.pk, result=RefundResult("succeeded", refund_txn_id), at=at)


def _reported(charge: PaymentTransaction, refund_txn_id: str) -> PaymentTransaction | None:
    """What is known by the provider's id for the refund, under whose charge's lock alone it is written."""
    found = PaymentTransaction.objects.filter(
        provider=charge.provider, type=Type.REFUND, provider_txn_id=refund_txn_id
    ).first()
    if found is not None and found.parent_id != charge.pk:
        raise ValueError("the refund is another payment's")
    return found


def _ours(charge: PaymentTransaction, money: Money, idempotency_key: str | None) -> PaymentTransaction | None:
    """The refund of ours that the news is about. What names another key is not, though it is of the same amount."""
    refunds = charge.children.filter(type=Type.REFUND)
    if not idempotency_key:
        return refunds.filter(amount=money.amount, status=Status.PENDING).order_by("created_at").first()
    refund = refunds.filter(idempotency_key=idempotency_key).first()
    if refund is not None and refund.amount != money.amount:
        raise ValueError("our refund is of another amount")
    return refund


def _check_room(charge: PaymentTransaction, money: Money, refund_txn_id: str) -> None:
    if money.amount <= charge.amount - charge.refunded_amount:
        return
    if money.amount <= charge.amount - _refunded(charge):
        raise PaymentInProgress("A refund of ours must be resolved first", details={"refund": refund_txn_id})
    raise RefundExceedsPayment(details={"refund": refund_txn_id})
