"""Invoices from draft to the end, and numbers without a gap."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction

from payflow.core.errors import InvalidTransition
from payflow.core.money import Money
from payments.composition import LineDraft
from payments.invoices import claim, claims_draft, invoice_issue, invoice_void, invoice_write_off, invoices_settle
from payments.models import Invoice, InvoiceLine, LedgerPosting, NumberCounter
from tests.factories import UserFactory

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
LATER = AT + timedelta(days=3)
Kind = InvoiceLine.Kind


def line(kind=Kind.PLAN, amount="10.00", currency="USD", **fields):
    return LineDraft(kind, f"a {kind} line", Money(Decimal(amount), currency), **fields)


def invoice_draft(**fields):
    made = claim(**fields)
    claims_draft([made])
    return made.invoice


def draft(user, *lines, **fields):
    options = {
        "user_id": user.pk,
        "subscription_id": None,
        "reason": Invoice.Reason.MANUAL,
        "period_start": None,
        "period_end": None,
        "at": AT,
    }
    return invoice_draft(lines=lines or [line()], **(options | fields))


@pytest.fixture
def invoice(user):
    return draft(user)


def kinds(invoice):
    return list(LedgerPosting.objects.filter(invoice=invoice).order_by("pk").values_list("kind", flat=True))


# --- drafting --------------------------------------------------------------------------------------------------------


def test_a_draft_adds_up_its_lines(user):
    invoice = draft(
        user,
        line(amount="20.00"),
        line(Kind.PRORATION_CREDIT, "-4.50"),
        line(Kind.PRORATION_CHARGE, "7.25"),
        line(Kind.USAGE, "1.30"),
        line(Kind.MANUAL, "0.95"),
        line(Kind.DISCOUNT, "-5.00"),
        line(Kind.TAX, "4.00"),
        line(Kind.CREDIT, "-3.00"),
        period_start=AT,
        period_end=LATER,
    )
    invoice.refresh_from_db()
    assert (invoice.subtotal, invoice.discount, invoice.tax, invoice.credit, invoice.total) == (
        Decimal("25.00"),
        Decimal("5.00"),
        Decimal("4.00"),
        Decimal("3.00"),
        Decimal("21.00"),
    )
    assert (invoice.status, invoice.number, invoice.issued_at, invoice.currency) == ("draft", None, None, "USD")
    assert (invoice.created_at, invoice.period_start, invoice.period_end) == (AT, AT, LATER)
    assert kinds(invoice) == [], "a draft is no claim"


def test_lines_are_snapshots_with_their_formula(user):
    invoice = draft(
        user,
        line(),
        line(
            Kind.USAGE,
            "4.50",
            quantity=Decimal("3"),
            unit_amount=Money(Decimal("1.50"), "USD"),
            period_start=AT,
            period_end=LATER,
            explanation={"used": 3},
        ),
    )
    first, second = invoice.lines.all()
    assert (first.position, first.quantity, first.unit_amount, first.explanation) == (1, 1, Decimal("10.00"), {})
    assert (second.position, second.kind, second.description) == (2, "usage", "a usage line")
    assert (second.quantity, second.unit_amount, second.amount) == (3, Decimal("1.50"), Decimal("4.50"))
    assert (second.period_start, second.period_end, second.explanation) == (AT, LATER, {"used": 3})
    assert {row.created_at for row in (first, second)} == {AT}


def test_a_draft_without_lines_or_of_two_currencies_is_a_mistake(user):
    with pytest.raises(ValueError, match="has lines"):
        invoice_draft(
            user_id=user.pk,
            subscription_id=None,
            reason=Invoice.Reason.MANUAL,
            lines=[],
            period_start=None,
            period_end=None,
            at=AT,
        )
    with pytest.raises(ValueError, match="do not mix"):
        draft(user, line(), line(currency="EUR"))
    assert Invoice.objects.count() == 0


# --- its ways --------------------------------------------------------------------------------------------------------


def test_issuing_takes_the_number_and_posts_the_claim(invoice):
    invoice_issue(invoice, at=LATER)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.number) == ("open", "INV-2026-000001")
    assert (invoice.issued_at, invoice.due_at) == (LATER, LATER)
    assert kinds(invoice) == ["invoice_issued"]


def test_settling(invoice):
    invoice_issue(invoice, at=AT)
    invoices_settle([invoice], at=LATER)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.paid_at, invoice.issued_at) == ("paid", LATER, AT)
    assert kinds(invoice) == ["invoice_issued"], "the money posts itself"


def test_voiding_an_issued_one_takes_the_claim_back_and_keeps_the_number(invoice):
    invoice_issue(invoice, at=AT)
    invoice_void(invoice, at=LATER)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.voided_at, invoice.number) == ("void", LATER, "INV-2026-000001")
    assert kinds(invoice) == ["invoice_issued", "invoice_void"]


def test_voiding_a_draft_needs_no_number_and_no_posting(invoice):
    invoice_void(invoice, at=LATER)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.voided_at, invoice.number) == ("void", LATER, None)
    assert kinds(invoice) == []
    assert NumberCounter.objects.count() == 0


def test_giving_up_and_being_paid_after_all(invoice):
    invoice_issue(invoice, at=AT)
    invoice_write_off(invoice, at=AT)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.paid_at) == ("uncollectible", None)
    invoices_settle([invoice], at=LATER)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.paid_at) == ("paid", LATER)
    assert kinds(invoice) == ["invoice_issued", "write_off", "write_off_reversed"]


def settle(invoice, *, at):
    invoices_settle([invoice], at=at)


ACTS = {"issue": invoice_issue, "settle": settle, "void": invoice_void, "write_off": invoice_write_off}
WAYS = {
    "draft": ([], {"issue", "void"}),
    "open": (["issue"], {"settle", "void", "write_off"}),
    "paid": (["issue", "settle"], set()),
    "void": (["issue", "void"], set()),
    "uncollectible": (["issue", "write_off"], {"settle"}),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("status", WAYS)
def test_what_the_table_lacks_is_refused_and_posts_nothing(invoice, status, act):
    way, allowed = WAYS[status]
    for step in way:
        ACTS[step](invoice, at=AT)
    before = kinds(invoice)
    if act in allowed:
        ACTS[act](invoice, at=LATER)
        return
    with pytest.raises(InvalidTransition, match=f"An invoice that is {status} cannot become"):
        with transaction.atomic():
            ACTS[act](invoice, at=LATER)
    invoice.refresh_from_db()
    assert (invoice.status, kinds(invoice)) == (status, before)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_each_year_has_its_own_numbers(user):
    numbers = []
    for year in (2026, 2026, 2027, 2026):
        invoice = draft(user)
        invoice_issue(invoice, at=AT.replace(year=year))
        numbers.append(invoice.number)
    assert numbers == ["INV-2026-000001", "INV-2026-000002", "INV-2027-000001", "INV-2026-000003"]


def test_a_number_goes_back_with_its_transaction(user):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        invoice_issue(draft(user), at=AT)
        raise ZeroDivisionError
    invoice = draft(user)
    invoice_issue(invoice, at=AT)
    assert invoice.number == "INV-2026-000001"


@pytest.mark.django_db(transaction=True)
def test_numbers_have_no_gap_under_eight_threads_of_which_some_roll_back():
    """Each thread issues twelve times; a third of the transactions fail after they took their number."""
    user = UserFactory()
    start = threading.Barrier(8, timeout=20)
    kept, errors = [], []

    def work(seed):
        chance = random.Random(seed)
        try:
            start.wait()
            for _ in range(12):
                fails = chance.random() < 1 / 3
                try:
                    with transaction.atomic():
                        invoice = draft(user)
                        invoice_issue(invoice, at=AT)
                        if fails:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    continue
                kept.append(invoice.number)
        except Exception as error:  # noqa: BLE001 - a thread's fault is the test's
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert 8 * 12 / 2 < len(kept) < 8 * 12
    expected = [f"INV-2026-{number:06d}" for number in range(1, len(kept) + 1)]
    assert sorted(kept) == expected
    assert sorted(Invoice.objects.values_list("number", flat=True)) == expected
    assert NumberCounter.objects.get(series="invoice", year=2026).last == len(kept)
