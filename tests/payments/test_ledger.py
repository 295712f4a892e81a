"""What each fact of money posts, and that the books close."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from hypothesis import given, settings
from hypothesis import strategies as st

from payflow.core.ids import uuid7
from payflow.core.money import Money
from payments import ledger
from payments.composition import LineDraft
from payments.invoices import claim, claims_draft, invoice_issue, invoice_void, invoice_write_off, invoices_settle
from payments.models import Invoice, InvoiceLine, LedgerEntry, LedgerPosting, PaymentTransaction
from tests.factories import UserFactory

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
Kind = InvoiceLine.Kind


def dollars(amount):
    return Money(Decimal(amount), "USD")


def invoice_draft(**fields):
    made = claim(**fields)
    claims_draft([made])
    return made.invoice


def draft(user, *lines):
    """`lines` are (kind, amount) in USD."""
    return invoice_draft(
        user_id=user.pk,
        subscription_id=None,
        reason=Invoice.Reason.MANUAL,
        lines=[LineDraft(kind, str(kind), dollars(amount)) for kind, amount in lines],
        period_start=None,
        period_end=None,
        at=AT,
    )


def issued(user, *lines):
    invoice = draft(user, *(lines or [(Kind.PLAN, "10.00")]))
    invoice_issue(invoice, at=AT)
    return invoice


def charge(user, amount="10.00", *, invoice=None, type="charge", parent=None):
    return PaymentTransaction.objects.create(
        user=user,
        invoice=invoice,
        provider="sandbox",
        type=type,
        parent=parent,
        status="completed",
        amount=Decimal(amount),
        idempotency_key=uuid7().hex,
    )


def books():
    """The balance of every account that has one."""
    rows = (
        LedgerEntry.objects.values("account", "provider", "currency")
        .annotate(balance=Sum("amount"))
        .order_by("account")
    )
    return {(row["account"], row["provider"]): row["balance"] for row in rows if row["balance"]}


def posted(key):
    posting = LedgerPosting.objects.get(key=key)
    entries = {(e.account, e.provider): (str(e.amount), e.currency) for e in posting.entries.all()}
    return posting, entries


def commit():
    """Deferred triggers, as at COMMIT."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")


# --- facts -----------------------------------------------------------------------------------------------------------


def test_a_claim_arises(user):
    invoice = issued(
        user,
        (Kind.PLAN, "20.00"),
        (Kind.USAGE, "5.00"),
        (Kind.DISCOUNT, "-3.00"),
        (Kind.TAX, "4.18"),
        (Kind.CREDIT, "-6.00"),
    )
    posting, entries = posted(f"invoice:{invoice.pk}:issued")
    assert entries == {
        ("receivable", ""): ("20.1800", "USD"),
        ("discounts", ""): ("3.0000", "USD"),
        ("customer_credit", ""): ("6.0000", "USD"),
        ("revenue", ""): ("-25.0000", "USD"),
        ("tax", ""): ("-4.1800", "USD"),
    }
    assert (posting.kind, posting.user_id, posting.invoice_id, posting.created_at) == (
        "invoice_issued",
        user.pk,
        invoice.pk,
        AT,
    )
    commit()


def test_what_is_nothing_is_not_written(user):
    invoice = issued(user)
    _, entries = posted(f"invoice:{invoice.pk}:issued")
    assert set(entries) == {("receivable", ""), ("revenue", "")}


def test_a_claim_taken_back_leaves_nothing(user):
    invoice = issued(user, (Kind.PLAN, "20.00"), (Kind.DISCOUNT, "-3.00"), (Kind.TAX, "3.40"), (Kind.CREDIT, "-1.00"))
    invoice_void(invoice, at=AT)
    _, there = posted(f"invoice:{invoice.pk}:issued")
    posting, back = posted(f"invoice:{invoice.pk}:void")
    assert posting.kind == "invoice_void"
    assert {key: Decimal(amount) for key, (amount, _) in back.items()} == {
        key: -Decimal(amount) for key, (amount, _) in there.items()
    }
    assert books() == {}
    commit()


def test_a_claim_given_up_is_a_loss_and_no_lost_revenue(user):
    invoice = issued(user)
    invoice_write_off(invoice, at=AT)
    posting, entries = posted(f"invoice:{invoice.pk}:uncollectible")
    assert posting.kind == "write_off"
    assert entries == {("write_off", ""): ("10.0000", "USD"), ("receivable", ""): ("-10.0000", "USD")}
    assert books() == {("revenue", ""): -10, ("write_off", ""): 10}
    commit()


def test_money_that_settles_a_claim(user):
    invoice = issued(user)
    payment = charge(user, invoice=invoice)
    ledger.post([ledger.charge(payment)], at=AT)
    posting, entries = posted(f"transaction:{payment.pk}")
    assert entries == {("provider_clearing", "sandbox"): ("10.0000", "USD"), ("receivable", ""): ("-10.0000", "USD")}
    assert (posting.kind, posting.transaction_id, posting.invoice_id) == ("charge", payment.pk, invoice.pk)
    assert books() == {("provider_clearing", "sandbox"): 10, ("revenue", ""): -10}
    commit()


def test_money_that_settles_nothing_waits(user):
    payment = charge(user)
    ledger.post([ledger.charge(payment)], at=AT)
    _, entries = posted(f"transaction:{payment.pk}")
    assert entries == {
        ("provider_clearing", "sandbox"): ("10.0000", "USD"),
        ("unapplied_payments", ""): ("-10.0000", "USD"),
    }
    back = charge(user, type="refund", parent=payment)
    ledger.post([ledger.refund(back, unapplied=Money(back.amount, "USD"))], at=AT)
    assert books() == {}
    commit()


def test_money_that_goes_back(user):
    invoice = issued(user)
    payment = charge(user, invoice=invoice)
    ledger.post([ledger.charge(payment)], at=AT)
    back = charge(user, "4.00", type="refund", parent=payment)
    ledger.post([ledger.refund(back, unapplied=Money.zero("USD"))], at=AT)
    _, entries = posted(f"transaction:{back.pk}")
    assert entries == {("refunds", ""): ("4.0000", "USD"), ("provider_clearing", "sandbox"): ("-4.0000", "USD")}
    assert books() == {("provider_clearing", "sandbox"): 6, ("refunds", ""): 4, ("revenue", ""): -10}
    commit()


def test_what_was_given_up_and_is_paid_after_all(user):
    invoice = issued(user)
    invoice_write_off(invoice, at=AT)
    payment = charge(user, invoice=invoice)
    ledger.post([ledger.charge(payment)], at=AT)
    invoices_settle([invoice], at=AT)
    posting, entries = posted(f"invoice:{invoice.pk}:recovered")
    assert posting.kind == "write_off_reversed"
    assert entries == {("receivable", ""): ("10.0000", "USD"), ("write_off", ""): ("-10.0000", "USD")}
    assert books() == {("provider_clearing", "sandbox"): 10, ("revenue", ""): -10}
    commit()


def test_a_fact_is_posted_once(user):
    payment = charge(user)
    ledger.post([ledger.charge(payment)], at=AT)
    with pytest.raises(IntegrityError, match="ledger_postings_key_key"), transaction.atomic():
        ledger.post([ledger.charge(payment)], at=AT)


def test_yen_have_no_cents(user):
    payment = charge(user, "1200")
    payment.currency = "JPY"
    payment.save()
    ledger.post([ledger.charge(payment)], at=AT)
    assert {e.currency for e in LedgerEntry.objects.all()} == {"JPY"}
    commit()


# --- any history -----------------------------------------------------------------------------------------------------

prices = st.integers(1, 10**9).map(lambda cents: str(Decimal(cents) / 100))
fates = st.sampled_from(["open", "paid", "void", "written off", "recovered"])


@settings(max_examples=15, deadline=None)
@given(world=st.lists(st.tuples(prices, st.integers(0, 100), st.integers(0, 30), fates), min_size=1, max_size=5))
def test_after_any_history_the_receivable_is_what_is_open(django_db_setup, django_db_blocker, world):
    with django_db_blocker.unblock(), transaction.atomic():
        user, owed, received, lost = UserFactory(), Decimal(0), Decimal(0), Decimal(0)
        for price, discount_percent, tax_percent, fate in world:
            plan = Decimal(price)
            discount = (plan * discount_percent / 100).quantize(Decimal("0.01"))
            tax = ((plan - discount) * tax_percent / 100).quantize(Decimal("0.01"))
            invoice = issued(user, (Kind.PLAN, plan), (Kind.DISCOUNT, -discount), (Kind.TAX, tax))
            if not invoice.total:
                continue
            if fate == "void":
                invoice_void(invoice, at=AT)
            if fate in ("written off", "recovered"):
                invoice_write_off(invoice, at=AT)
            if fate in ("paid", "recovered"):
                ledger.post([ledger.charge(charge(user, invoice.total, invoice=invoice))], at=AT)
                invoices_settle([invoice], at=AT)
            owed += invoice.total if fate == "open" else 0
            lost += invoice.total if fate == "written off" else 0
            received += invoice.total if fate in ("paid", "recovered") else 0
        commit()
        balances = books()
        assert sum(balances.values()) == 0
        assert balances.get(("receivable", ""), 0) == owed
        assert balances.get(("provider_clearing", "sandbox"), 0) == received
        assert balances.get(("write_off", ""), 0) == lost
        transaction.set_rollback(True)
