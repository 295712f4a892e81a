"""The locks of this app, in the order of the house: subscription, invoice, transaction."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from payflow.core.errors import NotFound
from payflow.core.locks import lock_rows
from payments import settlement
from payments.models import Invoice, PaymentTransaction


def transaction_lock(transaction_id: uuid.UUID) -> PaymentTransaction:
    """The transaction, read under its lock, with the locks above it taken first. Raises NotFound."""
    rows = transactions_lock([transaction_id])
    if not rows:
        raise NotFound("There is no such payment")
    return rows[0]


def transactions_lock(transaction_ids: Collection[uuid.UUID]) -> list[PaymentTransaction]:
    """The transactions in key order, read under their locks; subscriptions, invoices and parents are locked with them.

    Each comes with its invoice as it is under the lock.
    """
    found = list(
        PaymentTransaction.objects.filter(pk__any=transaction_ids).values_list(
            "subscription_id", "invoice_id", "parent_id", "parent__invoice_id"
        )
    )
    settlement.lock_subscriptions({row[0] for row in found} - {None})
    invoice_ids = {key for row in found for key in (row[1], row[3])} - {None}
    invoices = {row.pk: row for row in lock_rows(Invoice.objects.filter(pk__any=invoice_ids))}
    parents = {row[2] for row in found} - {None}
    rows = lock_rows(PaymentTransaction.objects.filter(pk__any={*transaction_ids, *parents}))
    for row in rows:
        if row.invoice_id is not None and row.invoice_id in invoices:
            row.invoice = invoices[row.invoice_id]
    wanted = set(transaction_ids)
    return [row for row in rows if row.pk in wanted]


def invoice_lock(invoice_id: uuid.UUID) -> Invoice:
    """The invoice, read under its lock, its subscription locked first. Raises NotFound."""
    found = Invoice.objects.filter(pk=invoice_id).values("subscription_id").first()
    if found is None:
        raise NotFound("There is no such invoice")
    settlement.lock_subscriptions({found["subscription_id"]} - {None})
    return lock_rows(Invoice.objects.filter(pk=invoice_id))[0]
