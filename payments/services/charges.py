"""Charging a stored method: intent, call, result.

The intent is a committed `pending` row whose key the provider gets. No answer means *unknown*: the row stays pending and
`charge_resolve` asks the provider; the same charge is never sent under another key.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction

from payflow.core.errors import ProviderUnavailable
from payflow.core.ids import uuid7
from payflow.core.sets import rows_insert, rows_update
from payments import ledger, settlement
from payments.errors import PaymentDeclined, PaymentInProgress
from payments.invoices import invoices_settle
from payments.locks import transaction_lock, transactions_lock
from payments.models import Invoice, PaymentMethod, PaymentTransaction
from payments.settlement import Declined, Settled, Unsent
from payments.state import transaction_move
from providers import registry
from providers.base import (
    ChargeRequest,
    Decline,
    NotSupported,
    Outcome,
    PaymentResult,
    ProviderError,
    RequestRefused,
    UnknownReference,
)

Status = PaymentTransaction.Status
Type = PaymentTransaction.Type

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intent:
    """A charge to be made: the whole of an open invoice, by a stored method. `key` is the caller's own, if it has one."""

    invoice: Invoice
    method: PaymentMethod
    attempt: int = 1
    key: str | None = None


def charges_intend(intents: Sequence[Intent], *, at: datetime) -> list[PaymentTransaction]:
    """The pending charges, in the caller's transaction. A second one of an invoice is refused by the database."""
    rows = []
    for intent in intents:
        invoice, charge_id = intent.invoice, uuid7()
        rows.append(
            PaymentTransaction(
                id=charge_id,
                subscription_id=invoice.subscription_id,
                user_id=invoice.user_id,
                invoice_id=invoice.pk,
                provider=intent.method.provider,
                type=Type.CHARGE,
                amount=invoice.total,
                currency=invoice.currency,
                method=intent.method,
                payment_method=intent.method.kind,
                idempotency_key=intent.key or f"charge_{charge_id}",
                attempt=intent.attempt,
                created_at=at,
            )
        )
    rows_insert(rows)
    return rows


def charge_intend(
    *, invoice: Invoice, method: PaymentMethod, at: datetime, key: str | None = None
) -> PaymentTransaction:
    """The pending charge of an open invoice, in the caller's transaction, which holds the invoice's lock.

    `key` is the caller's own for this charge (default: made of the row's id). Raises PaymentInProgress where a charge of
    the invoice is pending or has succeeded.
    """
    charges = PaymentTransaction.objects.filter(invoice=invoice, type=Type.CHARGE)
    statuses = list(charges.values_list("status", flat=True))
    if invoice.status != Invoice.Status.OPEN or any(status != Status.FAILED for status in statuses):
        raise PaymentInProgress(details={"invoice": str(invoice.pk), "status": invoice.status})
    [charge] = charges_intend([Intent(invoice, method, len(statuses) + 1, key)], at=at)
    return charge


def charge_send(*, transaction_id: uuid.UUID, at: datetime) -> PaymentTransaction:
    """Calls the provider for a committed pending charge and applies its answer. Outside any transaction.

    Where the provider gives no answer the row is returned as it is, pending; failed, where it is not wanted any more.
    """
    wanted = charges_wanted([transaction_id], at=at)
    charge = PaymentTransaction.objects.select_related("method").get(pk=transaction_id)
    if not wanted:
        return charge
    result = charge_ask(charge)
    return charge if result is None else charge_apply(transaction_id=transaction_id, result=result, at=at)


def charge_ask(charge: PaymentTransaction) -> PaymentResult | None:
    """The provider's answer to a committed pending charge; None where it gave none. Outside any transaction."""
    assert charge.method is not None, "a charge of ours has a stored method"
    request = ChargeRequest(
        method_ref=charge.method.method_ref,
        customer_ref=charge.method.customer_ref,
        amount=charge.amount,
        currency=charge.currency,
        idempotency_key=charge.idempotency_key,
        hook_url=hook_url(charge.provider),
    )
    try:
        return registry.get(charge.provider).charge(request)
    except (RequestRefused, UnknownReference, NotSupported) as error:
        # The provider heard us and will not do it: nothing has moved and nothing will.
        log.warning("charge %s refused: %s", charge.pk, type(error).__name__)
        return PaymentResult(Outcome.DECLINED, None, Decline(code=type(error).__name__, recoverable=False))
    except ProviderError as error:
        log.warning("charge %s unknown: %s", charge.pk, type(error).__name__)
        return None


def charges_wanted(transaction_ids: Collection[uuid.UUID], *, at: datetime) -> set[uuid.UUID]:
    """Which committed charges are still to be sent: asked right before the call. Outside any transaction.

    Not what has an answer already. What is not wanted any more (its invoice was taken back, or its period) fails unsent:
    nobody is charged for what he cancelled before the provider was asked. The look takes no locks: whoever was told that
    he has cancelled has committed before, and no lock could be held during the call.
    """
    return {key for key, refusal in _refusals(transaction_ids).items() if refusal is None or _is_wanted_again(key, at)}


def _refusals(transaction_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str | None]:
    """Of those without an answer, why one is not to be sent any more, as its failure's code; None where it is."""
    pending = PaymentTransaction.objects.filter(pk__any=transaction_ids, status=Status.PENDING)
    rows = list(pending.values_list("pk", "subscription_id", "invoice__reason", "invoice__status"))
    unwanted = settlement.unwanted([Unsent(key, subscription_id, reason) for key, subscription_id, reason, _ in rows])
    refusals: dict[uuid.UUID, str | None] = {}
    for key, _, _, status in rows:
        if status not in (None, Invoice.Status.OPEN):
            refusals[key] = f"invoice_{status}"
        else:
            refusals[key] = "not_wanted" if key in unwanted else None
    return refusals


def _is_wanted_again(transaction_id: uuid.UUID, at: datetime) -> bool:
    """Decides about one that is not wanted under its lock, for the wish may have been taken back; fails it, if not."""
    try:
        with transaction.atomic():
            transaction_lock(transaction_id)
            refusals = _refusals([transaction_id])
            if (refusal := refusals.get(transaction_id)) is not None:
                declined = PaymentResult(Outcome.DECLINED, None, Decline(refusal, recoverable=False))
                charges_apply({transaction_id: declined}, at=at)
            return transaction_id in refusals and refusal is None
    except Exception:
        # One bad row stops no other. Unsent and pending, it is decided about again by the sweep of what has no answer.
        log.exception("charge %s, which is not wanted any more, cannot be closed", transaction_id)
        return False


def charge_resolve(*, transaction_id: uuid.UUID, at: datetime) -> PaymentTransaction:
    """Asks the provider what became of a pending charge. What it never saw is sent, under the key it always had."""
    charge = PaymentTransaction.objects.get(pk=transaction_id)
    if charge.status != Status.PENDING:
        return charge
    try:
        result = registry.get(charge.provider).find_payment(charge.idempotency_key, charge.created_at)
    except ProviderError as error:
        log.warning("charge %s still unknown: %s", charge.pk, type(error).__name__)
        return charge
    if result is None:
        return charge_send(transaction_id=transaction_id, at=at)
    return charge_apply(transaction_id=transaction_id, result=result, at=at)


def raise_unless_paid(charge: PaymentTransaction) -> None:
    """For whoever waits for the payment. Raises ProviderUnavailable (unknown so far), PaymentDeclined."""
    if charge.status == Status.PENDING:
        raise ProviderUnavailable("The payment is under way and will be asked about", details={"id": str(charge.pk)})
    if charge.status == Status.FAILED:
        raise PaymentDeclined(
            details={"id": str(charge.pk), "reason": charge.failure_code, "recoverable": charge.recoverable}
            | charge.metadata
        )


def charge_apply(*, transaction_id: uuid.UUID, result: PaymentResult, at: datetime) -> PaymentTransaction:
    """Writes the provider's answer: settles the invoice, or records the decline. Applying it twice changes nothing."""
    [charge] = charges_apply({transaction_id: result}, at=at)
    return charge


def charges_apply(answers: Mapping[uuid.UUID, PaymentResult], *, at: datetime) -> list[PaymentTransaction]:
    """Writes many answers in one transaction: all of them or none. Returns the charges in key order."""
    with transaction.atomic():
        charges = transactions_lock(answers.keys())
        succeeded = [
            charge
            for charge in charges
            if answers[charge.pk].outcome == Outcome.SUCCEEDED and charge.status in (Status.PENDING, Status.FAILED)
        ]
        declined = [
            charge
            for charge in charges
            if answers[charge.pk].outcome in (Outcome.DECLINED, Outcome.REQUIRES_ACTION)
            and charge.status == Status.PENDING
        ]
        _complete(succeeded, answers, at)
        _fail(declined, answers, at)
    return charges


def _complete(charges: Sequence[PaymentTransaction], answers: Mapping[uuid.UUID, PaymentResult], at: datetime) -> None:
    taken = _taken([charge for charge in charges if charge.invoice_id is not None])
    settled = []
    for charge in charges:
        if charge.invoice is not None:
            if charge.invoice.status == Invoice.Status.OPEN and charge.invoice_id not in taken:
                settled.append(Settled(charge.invoice, charge))
            else:
                # A late success of an attempt that another payment has overtaken: the money is real, the claim is gone.
                charge.reason = f"its invoice is {charge.invoice.status}"
                charge.invoice = None
        transaction_move(charge, Status.COMPLETED)
        charge.provider_txn_id = answers[charge.pk].provider_txn_id
        charge.completed_at = at
        charge.failure_code = ""
    rows_update(charges, ["status", "provider_txn_id", "completed_at", "failure_code", "invoice", "reason"])
    invoices_settle([each.invoice for each in settled], at=at)
    ledger.post(map(ledger.charge, charges), at=at)
    settlement.paid(settled, at=at)


def _taken(charges: Sequence[PaymentTransaction]) -> set[uuid.UUID]:
    """The invoices that another payment than these is settling, or has settled."""
    others = PaymentTransaction.objects.filter(invoice__any=[charge.invoice_id for charge in charges], type=Type.CHARGE)
    others = others.exclude(pk__any=[charge.pk for charge in charges]).exclude(status=Status.FAILED)
    return {invoice_id for invoice_id in others.values_list("invoice_id", flat=True) if invoice_id}


def _fail(charges: Sequence[PaymentTransaction], answers: Mapping[uuid.UUID, PaymentResult], at: datetime) -> None:
    for charge in charges:
        result = answers[charge.pk]
        transaction_move(charge, Status.FAILED)
        charge.provider_txn_id = result.provider_txn_id
        charge.failure_code = result.decline.code[:100] if result.decline else str(result.outcome)
        charge.recoverable = result.decline.recoverable if result.decline else True
        charge.metadata = {"action_url": result.action_url} if result.action_url else {}
    rows_update(charges, ["status", "provider_txn_id", "failure_code", "recoverable", "metadata"])
    settlement.failed([Declined(charge.invoice, charge) for charge in charges if charge.invoice is not None], at=at)


def hook_url(provider: str) -> str:
    """Where the provider reports to."""
    return f"{settings.PAYFLOW_BASE_URL}/webhooks/{provider}"
