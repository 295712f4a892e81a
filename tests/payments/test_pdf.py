"""Invoices as PDF: the figures of the API, told once, the same bytes every time, for those who may see the invoice."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import Client
from pypdf import PdfReader

from accounts.roles import VIEWER
from payflow.core.errors import InvalidTransition
from payflow.core.money import Money
from payments.composition import LineDraft, with_tax
from payments.invoices import claims_draft, claims_issue, invoice_void, invoice_write_off
from payments.models import Invoice, InvoiceLine, TaxRate
from payments.pdf import invoice_pdf
from payments.selectors import invoices_visible
from tests.factories import AdminFactory, ApiKeyFactory, StaffFactory, UserFactory
from tests.flows import nothing_changes, paid, refused
from tests.payments.books import behind, claimed

pytestmark = pytest.mark.django_db

AT = datetime(2040, 1, 31, 10, tzinfo=UTC)
UNTIL = datetime(2040, 2, 29, 10, tzinfo=UTC)
Kind = InvoiceLine.Kind


def issued(user, *lines: LineDraft) -> Invoice:
    """An open invoice, as the selector reads it."""
    made = claimed(user, *(lines or [line("Basic (monthly)", "10.00")]))
    with transaction.atomic():
        claims_issue([made], at=AT)
    return read(made.invoice)


def read(invoice: Invoice) -> Invoice:
    return invoices_visible(AdminFactory()).get(pk=invoice.pk)


def line(description: str, amount: str, *, kind: str = Kind.PLAN, currency: str = "USD", **fields) -> LineDraft:
    return LineDraft(kind, description, Money(Decimal(amount), currency), **fields)


def pages(document: bytes) -> list[str]:
    """The text of each page, its spaces and line ends made one."""
    return [re.sub(r"\s+", " ", page.extract_text()) for page in PdfReader(io.BytesIO(document)).pages]


def text(invoice: Invoice) -> str:
    return " ".join(pages(invoice_pdf(invoice)))


# --- what is on it


def test_everything_is_on_it(settings):
    settings.SELLER_NAME = "Translations Ltd & Sons"
    settings.SELLER_ADDRESS = "1 High Street\nLondon"
    settings.SELLER_TAX_ID = "VAT GB123456789"
    buyer = UserFactory(name="Ann <b>Example</b>", email="ann@example.com", country="DE")
    invoice = issued(
        buyer,
        line("Premium (monthly)", "1234.50", period_start=AT, period_end=UNTIL),
        line(
            "Unused time of Basic",
            "-4.52",
            kind=Kind.PRORATION_CREDIT,
            period_start=AT,
            period_end=UNTIL,
            explanation={
                "formula": "price x rest / period",
                "price": "10.00",
                "since": "2040-02-15T10:00:00+00:00",
                "rest_days": 14,
                "period": ["2040-01-31T10:00:00+00:00", "2040-02-29T10:00:00+00:00"],
                "nested": {"left": "out"},
            },
        ),
        line("Translations", "2.50", kind=Kind.USAGE, quantity=Decimal("1000"), unit_amount=None),
        line("Coupon WELCOME", "-2.00", kind=Kind.DISCOUNT),
        line("VAT 19 %", "233.79", kind=Kind.TAX),
        line("Customer credit", "-1.27", kind=Kind.CREDIT),
    )

    (page,) = pages(invoice_pdf(invoice))

    for told in (
        f"Invoice {invoice.number}",
        "DUE",
        "Issued Jan 31, 2040",
        "Due Jan 31, 2040",
        "From Translations Ltd & Sons 1 High Street London VAT GB123456789",
        "Billed to Ann <b>Example</b> ann@example.com Germany",
        "Description Quantity Unit price Amount",
        "Premium (monthly) Jan 31, 2040 – Feb 29, 2040 1 $1,234.50 $1,234.50",
        "Unused time of Basic Jan 31, 2040 – Feb 29, 2040",
        "price x rest / period · price 10.00 · since Feb 15, 2040 · period Jan 31, 2040 – Feb 29, 2040",
        "1 -$4.52 -$4.52",
        "Translations 1,000 $2.50 $2.50",
        "Subtotal $1,232.48",
        "Coupon WELCOME -$2.00",
        "VAT 19 % $233.79",
        "Customer credit -$1.27",
        "Total $1,463.00",
        "Page 1 of 1",
    ):
        assert told in page, told
    assert "left" not in page
    # Deductions and taxes are told once, below the lines.
    for once in ("Coupon WELCOME", "VAT 19 %", "Customer credit"):
        assert page.count(once) == 1
    # Every figure is one of the invoice's own.
    assert sorted(set(re.findall(r"-?\$[\d,.]+\d", page))) == sorted(
        {"$1,234.50", "-$4.52", "$2.50", "$1,232.48", "-$2.00", "$233.79", "-$1.27", "$1,463.00"}
    )


@pytest.mark.parametrize("inclusive", [True, False])
def test_the_tax_that_a_price_contains_is_told_below_the_total(inclusive):
    rate = TaxRate(name="VAT", percent=Decimal("20.0000"), country="GB", inclusive=inclusive)

    page = text(issued(UserFactory(), *with_tax([line("Basic", "10.00")], rate)))

    if inclusive:
        assert "Subtotal $10.00 Total $10.00 includes VAT 20 %: $1.67" in page
    else:
        assert "Subtotal $10.00 VAT 20 % $2.00 Total $12.00" in page and "includes" not in page


def test_a_contained_tax_without_a_line_of_its_own():
    invoice = issued(UserFactory())
    behind("UPDATE invoices SET tax_included = 1.67 WHERE id = %s", invoice.pk)
    assert "Total $10.00 includes tax: $1.67" in text(read(invoice))


def test_what_contains_no_tax_says_nothing_of_it():
    assert "includes" not in text(issued(UserFactory()))


@pytest.mark.parametrize(
    ("currency", "amount", "told"),
    [("JPY", "5000", "¥5,000"), ("KWD", "1.234", "KWD 1.234"), ("EUR", "0.50", "€0.50"), ("PLN", "12.30", "PLN 12.30")],
)
def test_amounts_have_their_currencys_digits_whatever_the_language(settings, currency, amount, told):
    settings.LANGUAGE_CODE = "de"
    page = text(issued(UserFactory(), line("Basic", amount, currency=currency)))
    assert f"Total {told}" in page


def test_a_unit_price_is_not_rounded():
    invoice = issued(UserFactory(), line("Calls", "2.50", quantity=Decimal("1000.5")))
    behind("UPDATE invoice_lines SET unit_amount = 0.0025 WHERE invoice_id = %s", invoice.pk)

    assert "Calls 1,000.5 $0.0025 $2.50" in text(read(invoice))


def test_the_mark_is_the_status():
    marks = {}
    for finish in (None, invoice_void, invoice_write_off):
        invoice = issued(UserFactory())
        if finish:
            with transaction.atomic():
                finish(invoice, at=AT)
        marks[invoice.status] = text(read(invoice))
    marks["paid"] = text(read(paid(UserFactory(), at=AT)[1].invoice))

    assert "DUE" in marks["open"]
    assert "VOID" in marks["void"]
    assert "UNPAID" in marks["uncollectible"]
    assert "PAID" in marks["paid"].replace("UNPAID", "") and "Paid Jan 31, 2040" in marks["paid"]


@pytest.mark.parametrize(
    "name", ["Żółć Gęślą-Jaźń", "Юлия Щербакова", "Ελένη Παπαδοπούλου", "İbrahim Çağrı", "Nguyễn Văn Ạ"]
)
def test_names_in_other_letters_are_read_as_they_were_written(name):
    page = text(issued(UserFactory(name=name), line(name, "10.00")))
    assert page.count(name) == 2


def test_long_words_and_long_texts_stay_on_the_paper():
    long_word, long_text = "W" * 255, ("seventeen letters " * 14).strip()
    buyer = UserFactory(name="N" * 150, email=f"{'e' * 60}@{'d' * 60}.example.com")
    document = invoice_pdf(issued(buyer, line(long_word, "1.00"), line(long_text, "2.00")))

    (page,) = PdfReader(io.BytesIO(document)).pages
    told = page.extract_text()
    assert told.count("W") == 255 and told.count("N") == 150 + 1  # of the number
    assert long_text in re.sub(r"\s+", " ", told)
    right_edge = float(page.mediabox.width) - 40  # points; the margin is 51
    starts = []
    page.extract_text(visitor_text=lambda part, cm, tm, font, size: starts.append(tm[4]) if part.strip() else None)
    assert max(starts) < right_edge


def test_many_lines_flow_over_pages_under_the_same_heading():
    found = pages(invoice_pdf(issued(UserFactory(), *(line(f"Line number {n:02d}", "1.00") for n in range(60)))))

    assert len(found) >= 3
    for number, page in enumerate(found, start=1):
        assert f"Page {number} of {len(found)}" in page
    whole = " ".join(found)
    assert [int(n) for n in re.findall(r"Line number (\d\d)", whole)] == list(range(60))
    assert whole.count("Total $60.00") == 1
    with_lines = [page for page in found if "Line number" in page]
    assert all("Description Quantity" in page for page in with_lines)


def test_the_same_invoice_is_the_same_bytes():
    invoice = issued(UserFactory(name="Юлия"), *(line(f"Żółw {n}", "1.00") for n in range(40)))
    first = invoice_pdf(invoice)
    assert invoice_pdf(issued(UserFactory())) != first
    assert invoice_pdf(read(invoice)) == first


# --- who gets it


@pytest.fixture
def clients(api, user, other_user, admin):
    viewer = StaffFactory()
    viewer.groups.add(Group.objects.get_or_create(name=VIEWER)[0])
    return {
        "anonymous": api,
        "owner": api.as_user(user),
        "other": api.as_user(other_user),
        "admin": api.as_user(admin),
        "viewer": api.as_user(viewer),
        "service": api.as_service(ApiKeyFactory(scopes=["subscriptions"])),
        "reader": api.as_service(ApiKeyFactory(scopes=["read"])),
        "counter": api.as_service(ApiKeyFactory(scopes=["usage"])),
    }


@pytest.mark.parametrize("slash", ["", "/"])
def test_who_sees_the_invoice_gets_its_pdf(clients, user, slash):
    invoice = issued(user)
    path = f"/api/v1/invoices/{invoice.pk}/pdf{slash}"

    with nothing_changes():
        for who in ("owner", "admin", "viewer", "service", "reader"):
            answer = clients[who].get(path)
            assert answer.status_code == 200, who
            assert answer["Content-Type"] == "application/pdf"
            assert answer["Content-Disposition"] == f'attachment; filename="{invoice.number}.pdf"'
            assert answer.content == invoice_pdf(invoice)
        refused(clients["anonymous"].get(path), 401, "UNAUTHENTICATED")
        refused(clients["other"].get(path), 404, "NOT_FOUND")
        refused(clients["counter"].get(path), 403, "FORBIDDEN")
        refused(clients["owner"].post(path), 405, "METHOD_NOT_ALLOWED")


def test_what_is_not_issued_has_none(clients, user):
    made = claimed(user, line("Work", "1.00"))
    claims_draft([made])
    draft = made.invoice
    path = f"/api/v1/invoices/{draft.pk}/pdf"
    refused(clients["owner"].get(path), 409, "INVALID_TRANSITION")
    refused(clients["other"].get(path), 404, "NOT_FOUND")
    with transaction.atomic():
        invoice_void(draft, at=AT)
    refused(clients["admin"].get(path), 409, "INVALID_TRANSITION")
    with pytest.raises(InvalidTransition):
        invoice_pdf(draft)


def test_the_account_page_leads_to_ones_own_pdf(user, other_user):
    invoice = issued(user)
    path = f"/account/invoices/{invoice.pk}/pdf"
    browser = Client()
    assert browser.get(path).status_code == 302

    browser.force_login(user)
    assert f'href="{path}"' in browser.get("/account").text
    answer = browser.get(path)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
    assert answer.content == invoice_pdf(invoice)
    assert browser.post(path).status_code == 405

    for stranger in (other_user, AdminFactory()):
        browser.force_login(stranger)
        assert browser.get(path).status_code == 404


def test_the_account_page_has_no_pdf_of_a_receipt(user):
    _, charge = paid(user)
    behind("UPDATE invoices SET number = NULL, merchant_of_record = true WHERE id = %s", charge.invoice_id)
    browser = Client()
    browser.force_login(user)

    page = browser.get("/account").text
    assert "Receipt" in page and "/pdf" not in page
    assert browser.get(f"/account/invoices/{charge.invoice_id}/pdf").status_code == 404


def test_the_admin_has_it_on_the_invoices_page(user, other_user):
    invoice = issued(user)
    page, path = (f"/admin/payments/invoice/{invoice.pk}/{name}/" for name in ("change", "pdf"))
    browser = Client()
    viewer = StaffFactory()
    browser.force_login(viewer)
    assert browser.get(path).status_code == 403

    viewer.groups.add(Group.objects.get(name=VIEWER))
    assert f'href="{path}"' in browser.get(page).text
    assert browser.get(path).content == invoice_pdf(invoice)
    assert browser.get(path.replace(str(invoice.pk), str(user.pk))).status_code == 404

    browser.force_login(other_user)
    assert browser.get(path).status_code == 302
