"""Double entry: what each fact of money posts. Written in the fact's own transaction, never changed.

Debits are positive. The database refuses a posting that does not balance (deferred trigger `ledger_entries_balance`)
and a second posting of the same fact (`key`).
"""

from __future__ import annotations

import uuid
from datetime import datetime

from payflow.core.money import Money
from payments.models import Account, Invoice, LedgerEntry, LedgerPosting, PaymentTransaction


def post_invoice_issued(invoice: Invoice, *, at: datetime) -> None:
    """The claim arises: receivable, discounts and consumed credit against revenue and tax."""
    _post(
        f"invoice:{invoice.pk}:issued",
        "invoice_issued",
        _claim(invoice),
        user_id=invoice.user_id,
        invoice=invoice,
        at=at,
    )


def post_invoice_void(invoice: Invoice, *, at: datetime) -> None:
    """The claim is taken back as if it had not been."""
    reversed_claim = [(account, provider, -money) for account, provider, money in _claim(invoice)]
    _post(f"invoice:{invoice.pk}:void", "invoice_void", reversed_claim, user_id=invoice.user_id, invoice=invoice, at=at)


def post_invoice_uncollectible(invoice: Invoice, *, at: datetime) -> None:
    """The claim is given up: a loss, not a revenue that never was."""
    total = Money(invoice.total, invoice.currency)
    entries = [(Account.WRITE_OFF, "", total), (Account.RECEIVABLE, "", -total)]
    _post(f"invoice:{invoice.pk}:uncollectible", "write_off", entries, user_id=invoice.user_id, invoice=invoice, at=at)


def post_write_off_reversed(invoice: Invoice, *, at: datetime) -> None:
    """What was given up is paid after all: the claim stands again, for the charge to settle."""
    total = Money(invoice.total, invoice.currency)
    entries = [(Account.RECEIVABLE, "", total), (Account.WRITE_OFF, "", -total)]
    key = f"invoice:{invoice.pk}:recovered"
    _post(key, "write_off_reversed", entries, user_id=invoice.user_id, invoice=invoice, at=at)


def post_charge(charge: PaymentTransaction, *, at: datetime) -> None:
    """Money came in at the provider: it settles the invoice's receivable, or waits as unapplied."""
    money = Money(charge.amount, charge.currency)
    against = Account.RECEIVABLE if charge.invoice_id else Account.UNAPPLIED
    entries = [(Account.CLEARING, charge.provider, money), (against, "", -money)]
    _post(f"transaction:{charge.pk}", "charge", entries, user_id=charge.user_id, charge=charge, at=at)


def post_refund(refund: PaymentTransaction, *, unapplied: bool, at: datetime) -> None:
    """Money went back through the provider: out of refunds, or out of what was never applied."""
    money = Money(refund.amount, refund.currency)
    from_account = Account.UNAPPLIED if unapplied else Account.REFUNDS
    entries = [(from_account, "", money), (Account.CLEARING, refund.provider, -money)]
    _post(f"transaction:{refund.pk}", "refund", entries, user_id=refund.user_id, charge=refund, at=at)


def _claim(invoice: Invoice) -> list[tuple[Account, str, Money]]:
    def money(amount_of: str) -> Money:
        return Money(getattr(invoice, amount_of), invoice.currency)

    return [
        (Account.RECEIVABLE, "", money("total")),
        (Account.DISCOUNTS, "", money("discount")),
        (Account.CUSTOMER_CREDIT, "", money("credit")),
        (Account.REVENUE, "", -money("subtotal")),
        (Account.TAX, "", -money("tax")),
    ]


def _post(
    key: str,
    kind: str,
    entries: list[tuple[Account, str, Money]],
    *,
    user_id: uuid.UUID,
    at: datetime,
    invoice: Invoice | None = None,
    charge: PaymentTransaction | None = None,
) -> None:
    posting = LedgerPosting.objects.create(
        key=key,
        kind=kind,
        user_id=user_id,
        invoice=invoice or (charge.invoice if charge else None),
        transaction=charge,
        created_at=at,
    )
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            posting=posting,
            account=account,
            provider=provider,
            amount=money.amount,
            currency=money.currency,
            created_at=at,
        )
        for account, provider, money in entries
        if money
    )
