"""The allowed steps of invoices and transactions. The database refuses the others (trigger `<table>_transition`)."""

from __future__ import annotations

from payflow.core.errors import InvalidTransition
from payments.models import Invoice, PaymentTransaction

INVOICE_TRANSITIONS: dict[str, frozenset[str]] = {
    Invoice.Status.DRAFT: frozenset({Invoice.Status.OPEN, Invoice.Status.VOID}),
    Invoice.Status.OPEN: frozenset({Invoice.Status.PAID, Invoice.Status.VOID, Invoice.Status.UNCOLLECTIBLE}),
    Invoice.Status.UNCOLLECTIBLE: frozenset({Invoice.Status.PAID}),
    Invoice.Status.PAID: frozenset(),
    Invoice.Status.VOID: frozenset(),
}

TRANSACTION_TRANSITIONS: dict[str, frozenset[str]] = {
    # A refund that came back may be heard of before it is heard that it was made.
    PaymentTransaction.Status.PENDING: frozenset(
        {PaymentTransaction.Status.COMPLETED, PaymentTransaction.Status.FAILED, PaymentTransaction.Status.REVERSED}
    ),
    PaymentTransaction.Status.FAILED: frozenset(  # late success
        {PaymentTransaction.Status.COMPLETED, PaymentTransaction.Status.REVERSED}
    ),
    PaymentTransaction.Status.COMPLETED: frozenset(
        {PaymentTransaction.Status.REFUNDED, PaymentTransaction.Status.REVERSED}
    ),
    PaymentTransaction.Status.REFUNDED: frozenset({PaymentTransaction.Status.COMPLETED}),  # its refund came back
    PaymentTransaction.Status.REVERSED: frozenset(),
}


def invoice_move(invoice: Invoice, to: str) -> None:
    """Sets the invoice's status in memory; the caller holds its lock and saves. Raises InvalidTransition."""
    if to not in INVOICE_TRANSITIONS[invoice.status]:
        raise InvalidTransition(f"An invoice that is {invoice.status} cannot become {to}")
    invoice.status = to


def transaction_move(transaction: PaymentTransaction, to: str) -> None:
    """Sets the transaction's status in memory; the caller holds its lock and saves. Raises InvalidTransition."""
    if to not in TRANSACTION_TRANSITIONS[transaction.status]:
        raise InvalidTransition(f"A transaction that is {transaction.status} cannot become {to}")
    transaction.status = to
