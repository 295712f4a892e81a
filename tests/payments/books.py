"""A sound world with every kind of fact in it, and ways to break it behind the database's back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from django.db import connection, transaction

from payflow.core.ids import uuid7
from payflow.core.money import Money
from payments.invoices import LineDraft, invoice_draft, invoice_issue, invoice_void, invoice_write_off
from payments.models import (
    CreditAccount,
    CreditGrant,
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
    opened, voided, lost, draft = (_drafted(ann) for _ in range(4))
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
        draft=draft,
        unapplied=unapplied,
        credit=credit(ann, draft),
        taxed=taxed(bob),
    )


def credit(user: Any, draft: Invoice) -> SimpleNamespace:
    """As its services leave it: three grants; of the first, 3 went into an invoice, 1 into a draft, 1 was spent."""
    account = CreditAccount.objects.create(user=user, currency="USD", balance=Decimal("11.00"))

    def grant(source: str, amount: str, remaining: str, **fields: Any) -> CreditGrant:
        return CreditGrant.objects.create(
            account=account,
            key=f"grant-{source}",
            source=source,
            reason="because",
            amount=amount,
            remaining=remaining,
            currency="USD",
            **fields,
        )

    goodwill = grant("goodwill", "10.00", "5.00")
    unused = grant("unused_time", "6.00", "6.00", tax="1.00")
    expired = grant("payment", "4.00", "0.00", expires_at=AT, expired_at=AT)
    _unapplied(user, "4.00", "pay_credit")
    posted("credit_granted", user, discounts="10.00", customer_credit="-10.00")
    posted("credit_granted", user, revenue="5.00", tax="1.00", customer_credit="-6.00")
    posted("credit_granted", user, unapplied_payments="4.00", customer_credit="-4.00")
    posted("credit_expired", user, customer_credit="4.00", revenue="-4.00")
    posted("credit_spent", user, customer_credit="1.00", revenue="-1.00")
    invoice = _invoice(user, "open", subtotal="10.00", credit="3.00", total="7.00")
    posted("invoice_issued", user, invoice, receivable="7.00", customer_credit="3.00", revenue="-10.00")

    def use(amount: str, key: str, **fields: Any) -> CreditUse:
        return CreditUse.objects.create(grant=goodwill, key=key, amount=amount, currency="USD", **fields)

    use("3.00", "invoice", invoice=invoice)
    use("1.00", "draft", invoice=draft)
    use("9.00", "returned", invoice=invoice, returned_at=AT)
    spent = use("1.00", "spent")
    return SimpleNamespace(account=account, goodwill=goodwill, unused=unused, expired=expired, spent=spent)


def taxed(user: Any) -> Invoice:
    """12.00 of which 2.00 are tax, 1.00 off, 0.50 more tax on top."""
    invoice = _invoice(
        user, "open", subtotal="12.00", discount="1.00", tax="0.50", tax_included="2.00", total="11.50", currency="EUR"
    )
    posted(
        "invoice_issued",
        user,
        invoice,
        currency="EUR",
        receivable="11.50",
        discounts="1.00",
        revenue="-10.00",
        tax="-2.50",
    )
    return invoice


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


def _drafted(user: Any) -> Invoice:
    return invoice_draft(
        user_id=user.pk,
        subscription_id=None,
        reason=Invoice.Reason.MANUAL,
        lines=[LineDraft(InvoiceLine.Kind.MANUAL, "Work", Money(Decimal("10.00"), "USD"))],
        period_start=None,
        period_end=None,
        at=AT,
    )


def _invoice(user: Any, status: str, *, currency: str = "USD", **amounts: str) -> Invoice:
    """Issued by hand, with the next number."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE number_counters SET last = last + 1 WHERE year = 2040 RETURNING last")
        (last,) = cursor.fetchone()
    return Invoice.objects.create(
        user=user,
        status=status,
        reason="manual",
        number=f"INV-2040-{last:06d}",
        issued_at=AT + timedelta(minutes=last),
        currency=currency,
        **amounts,
    )


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
