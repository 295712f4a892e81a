"""A sound world with every kind of fact in it, and ways to break it behind the database's back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from django.db import connection, transaction

from payflow.core.ids import uuid7
from payflow.core.money import Money
from payments import ledger
from payments.composition import LineDraft
from payments.credits import Purses, expire, grant_write, purses_open
from payments.invoices import Claim, claim, claims_draft, claims_issue, invoice_issue, invoice_void, invoice_write_off
from payments.models import (
    CreditAccount,
    CreditGrant,
    CreditSource,
    CreditUse,
    Invoice,
    InvoiceLine,
    LedgerEntry,
    LedgerPosting,
    PaymentTransaction,
)
from payments.services.incoming import ReportedPayment, payment_record_unapplied
from payments.services.refunds import refund_report
from tests.factories import PlanFactory, UserFactory
from tests.flows import paid

AT = datetime(2040, 1, 31, 10, tzinfo=UTC)


@transaction.atomic
def sound() -> SimpleNamespace:
    """Invoices in every status, a refund, unapplied money (a part refunded), credit that was given, used and expired."""
    ann, bob = UserFactory(email="ann@example.com"), UserFactory(email="bob@example.com")
    plan = PlanFactory()
    _, charge = paid(ann, plan, at=AT)
    _, refunded = paid(bob, plan, at=AT)
    refund = refund_report(
        provider="sandbox",
        charge_txn_id=refunded.provider_txn_id,
        refund_txn_id="re_1",
        money=Money(Decimal("4.00"), "USD"),
        idempotency_key=None,
        at=AT,
    )
    opened, voided, lost, _ = (_drafted(ann) for _ in range(4))
    for invoice in (opened, voided, lost):
        invoice_issue(invoice, at=AT)
    invoice_void(voided, at=AT)
    invoice_write_off(lost, at=AT)
    unapplied = _unapplied(bob, "7.00", "pay_lost")
    refund_report(
        provider="sandbox",
        charge_txn_id="pay_lost",
        refund_txn_id="re_2",
        money=Money(Decimal("2.00"), "USD"),
        idempotency_key=None,
        at=AT,
    )
    _unapplied(bob, "500", "pay_yen", "JPY")
    return SimpleNamespace(
        ann=ann,
        bob=bob,
        paid=charge.invoice,
        charge=charge,
        refunded=refunded,
        refund=refund,
        opened=opened,
        voided=voided,
        lost=lost,
        unapplied=unapplied,
        credit=credit(ann),
        taxed=taxed(bob),
    )


def credit(user: Any) -> SimpleNamespace:
    """10, 6 and 4 are granted, the 4 expire; of the 10 an invoice takes 3, a draft 1 and a use without an invoice 1.

    What another invoice took came back when it was voided.
    """
    _unapplied(user, "4.00", "pay_credit")

    def grant(source: CreditSource, amount: str, **fields: Any) -> CreditGrant:
        return grant_write(
            user_id=user.pk, money=dollars(amount), source=source, reason="because", key=source, at=AT, **fields
        )

    goodwill = grant(CreditSource.GOODWILL, "10.00")
    unused = grant(CreditSource.UNUSED_TIME, "6.00", tax=dollars("1.00"))
    expired = grant(CreditSource.PAYMENT, "4.00", expires_at=AT)
    expire([CreditAccount.objects.get(user=user)], at=AT)

    holder = (user.pk, "USD")
    purses = purses_open([holder], at=AT)
    issued, returned, draft = (_with_credit(user, amount, purses) for amount in ("3.00", "2.00", "1.00"))
    purses.spend(holder, dollars("1.00"), key="spent", invoice_id=None, at=AT)
    ledger.post([ledger.credit_spent("spent", dollars("1.00"), user.pk)], at=AT)
    purses.close()
    claims_issue([issued, returned], at=AT)
    claims_draft([draft])
    invoice_void(returned.invoice, at=AT)
    return SimpleNamespace(
        account=CreditAccount.objects.get(user=user),
        goodwill=goodwill,
        unused=unused,
        expired=expired,
        spent=CreditUse.objects.get(key="spent"),
    )


def dollars(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def _with_credit(user: Any, amount: str, purses: Purses) -> Claim:
    made = claimed(user, _WORK, LineDraft(InvoiceLine.Kind.CREDIT, "Credit", -dollars(amount)))
    purses.spend((user.pk, "USD"), dollars(amount), key=f"of {amount}", invoice_id=made.invoice.pk, at=AT)
    return made


def taxed(user: Any) -> Invoice:
    """12.00 of which 2.00 are tax, 1.00 off, and 0.50 more tax on top."""
    kind = InvoiceLine.Kind
    lines = [
        LineDraft(kind.MANUAL, "Work", euros("12.00")),
        LineDraft(kind.DISCOUNT, "Less", -euros("1.00")),
        LineDraft(kind.TAX, "VAT", euros("0.50"), included=euros("2.00")),
    ]
    made = claimed(user, *lines)
    claims_issue([made], at=AT)
    return made.invoice


def euros(amount: str) -> Money:
    return Money(Decimal(amount), "EUR")


def claimed(user: Any, *lines: LineDraft) -> Claim:
    return claim(
        user_id=user.pk,
        subscription_id=None,
        reason=Invoice.Reason.MANUAL,
        lines=lines,
        period_start=None,
        period_end=None,
        at=AT,
    )


def posted(
    kind: str, user: Any, invoice: Invoice | None = None, *, currency: str = "USD", **accounts: str
) -> LedgerPosting:
    """A posting written by hand; `accounts` are their entries."""
    with connection.cursor() as cursor, triggers_off(cursor):
        posting = LedgerPosting.objects.create(key=f"{kind}:{uuid7()}", kind=kind, user=user, invoice=invoice)
        for account, amount in accounts.items():
            LedgerEntry.objects.create(posting=posting, account=account, amount=amount, currency=currency)
    return posting


def behind(sql: str, *params: Any) -> None:
    """Does what no trigger and no foreign key would let anybody do."""
    with connection.cursor() as cursor, triggers_off(cursor):
        cursor.execute(sql, params)
        assert cursor.rowcount, "nothing was broken"


@contextlib.contextmanager
def triggers_off(cursor: Any) -> Iterator[None]:
    cursor.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        cursor.execute("SET session_replication_role = origin")


_WORK = LineDraft(InvoiceLine.Kind.MANUAL, "Work", dollars("10.00"))


def _drafted(user: Any) -> Invoice:
    made = claimed(user, _WORK)
    claims_draft([made])
    return made.invoice


def _unapplied(user: Any, amount: str, txn: str, currency: str = "USD") -> PaymentTransaction:
    payment = ReportedPayment(
        provider="sandbox",
        provider_txn_id=txn,
        money=Money(Decimal(amount), currency),
        user_id=user.pk,
        subscription_id=None,
        method=None,
        raw={},
    )
    return payment_record_unapplied(payment=payment, reason="nobody asked for it", at=AT)
