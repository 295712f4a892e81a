"""The locks of this app, in the order of the house: subscription, invoice, transaction."""

from __future__ import annotations

import uuid

from payflow.core.errors import NotFound
from payflow.core.locks import lock_rows
from payments import settlement
from payments.models import Invoice, PaymentTransaction


def transaction_lock(transaction_id: uuid.UUID) -> PaymentTransaction:
    """The transaction, read under its lock, with the locks above it taken first. Raises NotFound."""
    found = (
        PaymentTransaction.objects.filter(pk=transaction_id)
        .values("subscription_id", "invoice_id", "parent_id", "parent__invoice_id")
        .first()
    )
    if found is None:
        raise NotFound("There is no such payment")
    settlement.lock_subscription(found["subscription_id"])
    invoices = {found["invoice_id"], found["parent__invoice_id"]} - {None}
    lock_rows(Invoice.objects.filter(pk__in=invoices))
    rows = lock_rows(PaymentTransaction.objects.filter(pk__in={transaction_id, found["parent_id"]} - {None}))
    return next(row for row in rows if row.pk == transaction_id)


def invoice_lock(invoice_id: uuid.UUID) -> Invoice:
    """The invoice, read under its lock, its subscription locked first. Raises NotFound."""
    found = Invoice.objects.filter(pk=invoice_id).values("subscription_id").first()
    if found is None:
        raise NotFound("There is no such invoice")
    settlement.lock_subscription(found["subscription_id"])
    return lock_rows(Invoice.objects.filter(pk=invoice_id))[0]
