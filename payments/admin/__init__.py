"""Operators' pages of money, by subject: each module registers its own."""

from payments.admin import credits, ledger, ledger_checks, taxes
from payments.admin.invoices import InvoiceInline
from payments.admin.transactions import TransactionInline

__all__ = ["InvoiceInline", "TransactionInline", "credits", "ledger", "ledger_checks", "taxes"]
