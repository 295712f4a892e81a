"""The books' checks in the admin: who runs one, and what the start page says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from payflow.core import clock
from payflow.core.models import AuditEntry
from payments.models import LedgerCheck, NumberCounter
from payments.services.ledger_check import ledger_check_run
from tests.factories import UserFactory
from tests.flows import paid

LIST = "/admin/payments/ledgercheck/"
NOW = f"{LIST}check_now/"


@pytest.mark.parametrize(
    ("role", "may"),
    [("superuser", True), ("billing-admin", True), ("finance", True), ("support", False), ("viewer", False)],
)
def test_who_may_check_now(signed_in, role, may):
    operator = signed_in(role)

    assert (NOW in operator.get(LIST).text) is may
    assert operator.get(NOW).status_code == (200 if may else 403)
    assert not LedgerCheck.objects.exists()  # looking checks nothing

    answer = operator.post(NOW)
    assert answer.status_code == (302 if may else 403)
    assert LedgerCheck.objects.count() == may
    if may:
        check = LedgerCheck.objects.get()
        assert answer.url == f"{LIST}{check.pk}/change/"
        entry = AuditEntry.objects.get(action="ledger.check")
        assert (entry.actor, entry.subject_id, entry.data) == (f"user:{operator.user.pk}", check.pk, {"faults": 0})


def test_a_customer_checks_nothing(signed_in):
    assert signed_in("customer").post(NOW).status_code == 302
    assert not LedgerCheck.objects.exists()


def test_a_check_says_what_is_wrong(signed_in):
    # Given a counter that is ahead of its invoices
    paid(UserFactory())
    paid(UserFactory())
    NumberCounter.objects.update(last=5)
    check = ledger_check_run(actor="system", wall=clock.wall())

    page = signed_in("viewer").get(f"{LIST}{check.pk}/change/").text

    assert "invoice_numbers" in page
    assert "expected last number: 2" in page and "found last number: 5" in page


def test_ids_of_rows_are_links(signed_in):
    key = "0198c0de-0000-7000-8000-000000000001"
    check = LedgerCheck.objects.create(
        created_at=clock.wall(),
        finished_at=clock.wall(),
        checked={"refunded_amount": {"rows": 9, "faults": 101}},
        faults=[
            {"check": "refunded_amount", "id": key, "expected": "a", "found": "b"},
            {"check": "provider_clearing", "id": "sandbox USD", "expected": "c", "found": "d"},
        ],
        is_sound=False,
    )

    page = signed_in("viewer").get(f"{LIST}{check.pk}/change/").text

    assert f'href="/admin/payments/paymenttransaction/{key}/change/"' in page
    assert "provider_clearing sandbox USD" in page
    assert "and 99 more" in page


def test_the_start_page_says_how_the_books_are(signed_in):
    viewer = signed_in("viewer")
    assert "not checked yet" in viewer.get("/admin/").text

    check = ledger_check_run(actor="system", wall=clock.wall())
    page = viewer.get("/admin/").text
    assert "<strong>sound</strong>" in page and "is beat running" not in page

    LedgerCheck.objects.update(created_at=clock.wall() - timedelta(hours=27))
    assert "is beat running" in viewer.get("/admin/").text

    LedgerCheck.objects.update(is_sound=False, checked={"refunded_amount": {"rows": 9, "faults": 3}})
    page = viewer.get("/admin/").text
    assert ">3 faults</strong>" in page
    assert f'href="{LIST}{check.pk}/change/"' in page


def test_the_start_page_says_nothing_to_who_may_not_see_checks(signed_in):
    someone = signed_in("viewer")
    someone.user.groups.clear()
    assert "Ledger" not in someone.get("/admin/").text
