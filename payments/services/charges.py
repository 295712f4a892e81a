"""Charging a stored method: intent, call, result.

The intent is a committed `pending` row whose key the provider gets. No answer means *unknown*: the row stays pending and
`charge_resolve` asks the provider; the same charge is never sent under another key.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime

from django.conf import settings
from django.db import transaction

from payflow.core.ids import uuid7
from payments import ledger, settlement
from payments.errors import PaymentInProgress
from payments.invoices import invoice_settle
from payments.locks import transaction_lock
from payments.models import Invoice, PaymentMethod, PaymentTransaction
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

log = logging.getLogger(__name__)


def charge_intend(
    *, invoice: Invoice, method: PaymentMethod, at: datetime, key: str | None = None
) -> PaymentTransaction:
    """The pending charge of an open invoice, in the caller's transaction, which holds the invoice's lock.

    `key` is the caller's own for this charge (default: made of the row's id). Raises PaymentInProgress where a charge of
    the invoice is pending or has succeeded.
    """
    charges = PaymentTransaction.objects.filter(invoice=invoice, type=PaymentTransaction.Type.CHARGE)
    statuses = list(charges.values_list("status", flat=True))
    if invoice.status != Invoice.Status.OPEN or any(status != Status.FAILED for status in statuses):
        raise PaymentInProgress(details={"invoice": str(invoice.pk), "status": invoice.status})
    charge_id = uuid7()
    return PaymentTransaction.objects.create(
        id=charge_id,
        subscription_id=invoice.subscription_id,
        user_id=invoice.user_id,
        invoice=invoice,
        provider=method.provider,
        type=PaymentTransaction.Type.CHARGE,
        amount=invoice.total,
        currency=invoice.currency,
        method=method,
        payment_method=method.kind,
        idempotency_key=key or f"charge_{charge_id}",
        attempt=len(statuses) + 1,
        created_at=at,
    )


def charge_send(*, transaction_id: uuid.UUID, at: datetime) -> PaymentTransaction:
    """Calls the provider for a committed pending charge and applies its answer. Outside any transaction.

    Where the provider gives no answer the row is returned as it is, pending.
    """
    charge = PaymentTransaction.objects.select_related("method").get(pk=transaction_id)
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
        result = registry.get(charge.provider).charge(request)
    except (RequestRefused, UnknownReference, NotSupported) as error:
        # The provider heard us and will not do it: nothing has moved and nothing will.
        log.warning("charge %s refused: %s", charge.pk, type(error).__name__)
        result = PaymentResult(Outcome.DECLINED, None, Decline(code=type(error).__name__, recoverable=False))
    except ProviderError as error:
        log.warning("charge %s unknown: %s", charge.pk, type(error).__name__)
        return charge
    return charge_apply(transaction_id=transaction_id, result=result, at=at)


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


def charge_apply(*, transaction_id: uuid.UUID, result: PaymentResult, at: datetime) -> PaymentTransaction:
    """Writes the provider's answer: settles the invoice, or records the decline. Applying it twice changes nothing."""
    with transaction.atomic():
        charge = transaction_lock(transaction_id)
        if result.outcome == Outcome.SUCCEEDED and charge.status in (Status.PENDING, Status.FAILED):
            _complete(charge, result, at)
        elif result.outcome in (Outcome.DECLINED, Outcome.REQUIRES_ACTION) and charge.status == Status.PENDING:
            _fail(charge, result, at)
        return charge


def _complete(charge: PaymentTransaction, result: PaymentResult, at: datetime) -> None:
    invoice = charge.invoice
    if invoice is not None and not _can_settle(invoice, charge):
        # A late success of an attempt that another payment has overtaken: the money is real, the claim is gone.
        charge.reason = f"its invoice is {invoice.status}"
        invoice = charge.invoice = None
    transaction_move(charge, Status.COMPLETED)
    charge.provider_txn_id = result.provider_txn_id
    charge.completed_at = at
    charge.failure_code = ""
    charge.save()
    if invoice is not None:
        invoice_settle(invoice, at=at)
    ledger.post_charge(charge, at=at)
    if invoice is not None:
        settlement.paid(invoice=invoice, transaction=charge, at=at)


def _can_settle(invoice: Invoice, charge: PaymentTransaction) -> bool:
    others = PaymentTransaction.objects.filter(invoice=invoice, type=PaymentTransaction.Type.CHARGE)
    others = others.exclude(pk=charge.pk).exclude(status=Status.FAILED)
    return invoice.status == Invoice.Status.OPEN and not others.exists()


def _fail(charge: PaymentTransaction, result: PaymentResult, at: datetime) -> None:
    transaction_move(charge, Status.FAILED)
    charge.provider_txn_id = result.provider_txn_id
    charge.failure_code = result.decline.code[:100] if result.decline else str(result.outcome)
    charge.recoverable = result.decline.recoverable if result.decline else True
    charge.metadata = {"action_url": result.action_url} if result.action_url else {}
    charge.save()
    if charge.invoice is not None:
        settlement.failed(invoice=charge.invoice, transaction=charge, at=at)


def hook_url(provider: str) -> str:
    """Where the provider reports to."""
    return f"{settings.PAYFLOW_BASE_URL}/webhooks/{provider}"
