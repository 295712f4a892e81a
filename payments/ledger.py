"""Double entry: what each fact of money posts. Written in the fact's own transaction, never changed.

Debits are positive. The database refuses entries that do not balance (trigger `ledger_entries_balance`, which sees a
posting's entries in one statement), a posting without any, and a second posting of the same fact (`key`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from payflow.core.ids import uuid7, uuid7_text
from payflow.core.money import Money
from payflow.core.sets import tuples_insert
from payments.models import Account, CreditGrant, CreditSource, Invoice, LedgerEntry, LedgerPosting, PaymentTransaction

#: Account, provider (of clearing), amount.
Side = tuple[Account, str, Money]


@dataclass(frozen=True, slots=True)
class Posting:
    """One fact before it is written. Sides of nothing are left out."""

    key: str
    kind: str
    user_id: uuid.UUID
    sides: tuple[Side, ...]
    invoice_id: uuid.UUID | None = None
    transaction_id: uuid.UUID | None = None


def post(postings: Iterable[Posting], *, at: datetime) -> None:
    """Writes the facts, in two statements however many they are. A fact that moves nothing is none."""
    rows, entries = [], []
    for posting in postings:
        sides = [side for side in posting.sides if side[2]]
        if not sides:
            continue
        key = uuid7_text()
        rows.append((key, at, posting.key, posting.kind, posting.user_id, posting.invoice_id, posting.transaction_id))
        entries += [
            (uuid7_text(), at, key, account.value, provider, money.amount, money.currency)
            for account, provider, money in sides
        ]
    if rows:
        tuples_insert(
            LedgerPosting, ("id", "created_at", "key", "kind", "user_id", "invoice_id", "transaction_id"), rows
        )
        tuples_insert(
            LedgerEntry, ("id", "created_at", "posting_id", "account", "provider", "amount", "currency"), entries
        )


# --- claims ----------------------------------------------------------------------------------------------------------


def invoice_issued(invoice: Invoice) -> Posting:
    """The claim arises: receivable, discounts and consumed credit against revenue and tax."""
    return _of_invoice(invoice, "issued", "invoice_issued", _claim(invoice))


def invoice_void(invoice: Invoice) -> Posting:
    """The claim is taken back as if it had not been."""
    reversed_claim = tuple((account, provider, -money) for account, provider, money in _claim(invoice))
    return _of_invoice(invoice, "void", "invoice_void", reversed_claim)


def invoice_uncollectible(invoice: Invoice) -> Posting:
    """The claim is given up: a loss, not a revenue that never was."""
    total = Money(invoice.total, invoice.currency)
    sides = ((Account.WRITE_OFF, "", total), (Account.RECEIVABLE, "", -total))
    return _of_invoice(invoice, "uncollectible", "write_off", sides)


def write_off_reversed(invoice: Invoice) -> Posting:
    """What was given up is paid after all: the claim stands again, for the charge to settle."""
    total = Money(invoice.total, invoice.currency)
    sides = ((Account.RECEIVABLE, "", total), (Account.WRITE_OFF, "", -total))
    return _of_invoice(invoice, "recovered", "write_off_reversed", sides)


def _claim(invoice: Invoice) -> tuple[Side, ...]:
    def money(amount_of: str) -> Money:
        return Money(getattr(invoice, amount_of), invoice.currency)

    return (
        (Account.RECEIVABLE, "", money("total")),
        (Account.DISCOUNTS, "", money("discount")),
        (Account.CUSTOMER_CREDIT, "", money("credit")),
        (Account.REVENUE, "", money("tax_included") - money("subtotal")),
        (Account.TAX, "", -(money("tax") + money("tax_included"))),
    )


def _of_invoice(invoice: Invoice, fact: str, kind: str, sides: tuple[Side, ...]) -> Posting:
    return Posting(f"invoice:{invoice.pk}:{fact}", kind, invoice.user_id, sides, invoice_id=invoice.pk)


# --- money that moves ------------------------------------------------------------------------------------------------


def charge(row: PaymentTransaction) -> Posting:
    """Money came in at the provider: it settles the invoice's receivable, or waits as unapplied."""
    money = Money(row.amount, row.currency)
    against = Account.RECEIVABLE if row.invoice_id else Account.UNAPPLIED
    return _of_transaction(row, "charge", ((Account.CLEARING, row.provider, money), (against, "", -money)))


def refund(row: PaymentTransaction, *, unapplied: Money) -> Posting:
    """Money went back through the provider: out of refunds, but for what of it had never been applied."""
    return _of_transaction(row, "refund", _refund(row, unapplied))


def refund_reversed(row: PaymentTransaction, *, unapplied: Money) -> Posting:
    """A refund came back: the reverse of it, `unapplied` of it being unapplied again."""
    sides = tuple((account, provider, -money) for account, provider, money in _refund(row, unapplied))
    return replace(_of_transaction(row, "refund_reversed", sides), key=f"transaction:{row.pk}:reversed")


def _refund(row: PaymentTransaction, unapplied: Money) -> tuple[Side, ...]:
    money = Money(row.amount, row.currency)
    return (
        (Account.UNAPPLIED, "", unapplied),
        (Account.REFUNDS, "", money - unapplied),
        (Account.CLEARING, row.provider, -money),
    )


def chargeback(row: PaymentTransaction, *, unapplied: Money) -> Posting:
    """A dispute is lost: the provider has taken the money back.

    It is a loss, but for what of the payment still waited as `unapplied`: that was never ours.
    """
    money = Money(row.amount, row.currency)
    sides: tuple[Side, ...] = (
        (Account.UNAPPLIED, "", unapplied),
        (Account.CHARGEBACKS, "", money - unapplied),
        (Account.CLEARING, row.provider, -money),
    )
    return _of_transaction(row, "chargeback", sides)


def _of_transaction(row: PaymentTransaction, kind: str, sides: tuple[Side, ...]) -> Posting:
    return Posting(f"transaction:{row.pk}", kind, row.user_id, sides, invoice_id=row.invoice_id, transaction_id=row.pk)


# --- customer credit -------------------------------------------------------------------------------------------------


def credit_granted(grant: CreditGrant, user_id: uuid.UUID) -> Posting:
    """Credit arises: goodwill is a discount, unused time gives back revenue and its tax, a payment was unapplied."""
    money, tax = Money(grant.amount, grant.currency), Money(grant.tax, grant.currency)
    sides = (*_source(grant.source, money, tax), (Account.CUSTOMER_CREDIT, "", -money))
    return Posting(f"credit:{grant.pk}:granted", "credit_granted", user_id, sides)


def credit_expired(grant: CreditGrant, rest: Money, user_id: uuid.UUID) -> Posting:
    """What was not spent in time is ours."""
    sides = ((Account.CUSTOMER_CREDIT, "", rest), (Account.REVENUE, "", -rest))
    return Posting(_key_of_rest(grant, "expired"), "credit_expired", user_id, sides)


def credit_revoked(grant: CreditGrant, rest: Money, user_id: uuid.UUID) -> Posting:
    """What is left was given by mistake, or is no longer owed: the reverse of its grant, with its part of the tax."""
    tax = Money.of_fraction(Fraction(grant.tax) * Fraction(rest.amount) / Fraction(grant.amount), grant.currency)
    given = _source(grant.source, rest, tax)
    sides = ((Account.CUSTOMER_CREDIT, "", rest), *((account, provider, -money) for account, provider, money in given))
    return Posting(_key_of_rest(grant, "revoked"), "credit_revoked", user_id, sides)


def credit_spent(key: str, money: Money, user_id: uuid.UUID) -> Posting:
    """Credit paid for something without an invoice: once per user and `key`, which is its caller's and of any length."""
    sides = ((Account.CUSTOMER_CREDIT, "", money), (Account.REVENUE, "", -money))
    digest = hashlib.sha256(key.encode()).hexdigest()
    return Posting(f"credit:spent:{user_id}:{digest}", "credit_spent", user_id, sides)


def _source(source: str, money: Money, tax: Money) -> tuple[Side, ...]:
    """What credit of this source is taken out of."""
    sources: dict[str, tuple[Side, ...]] = {
        CreditSource.GOODWILL: ((Account.DISCOUNTS, "", money),),
        CreditSource.UNUSED_TIME: ((Account.REVENUE, "", money - tax), (Account.TAX, "", tax)),
        CreditSource.PAYMENT: ((Account.UNAPPLIED, "", money),),
    }
    return sources[source]


def _key_of_rest(grant: CreditGrant, fact: str) -> str:
    # A grant has as many rests as invoices that used it become void: the account's lock makes each of them posted once.
    return f"credit:{grant.pk}:{fact}:{uuid7()}"
