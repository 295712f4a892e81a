"""Money: invoices, transactions, stored methods, credit, taxes, the ledger. Nothing here imports what stands above."""

from payments.models.credits import CreditAccount, CreditGrant, CreditSource, CreditUse
from payments.models.invoices import (
    Invoice,
    InvoiceLine,
    InvoiceReason,
    InvoiceStatus,
    LineKind,
    NumberCounter,
)
from payments.models.ledger import Account, LedgerCheck, LedgerEntry, LedgerPosting
from payments.models.taxes import TaxRate
from payments.models.transactions import (
    PaymentMethod,
    PaymentTransaction,
    TransactionStatus,
    TransactionType,
)

__all__ = [
    "Account",
    "CreditAccount",
    "CreditGrant",
    "CreditSource",
    "CreditUse",
    "Invoice",
    "InvoiceLine",
    "InvoiceReason",
    "InvoiceStatus",
    "LedgerCheck",
    "LedgerEntry",
    "LedgerPosting",
    "LineKind",
    "NumberCounter",
    "PaymentMethod",
    "PaymentTransaction",
    "TaxRate",
    "TransactionStatus",
    "TransactionType",
]
