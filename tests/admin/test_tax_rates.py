"""Tax rates in the admin: added and switched off by those who may, edited by nobody."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payflow.core.models import AuditEntry
from payments.models import TaxRate
from payments.services.tax_rates import tax_rate_create
from tests.admin.test_actions import confirmed

LIST = "/admin/payments/taxrate/"
NEW = {"country": "PL", "name": "VAT", "percent": "23", "inclusive": "on"}
MAY = [("superuser", True), ("billing-admin", True), ("finance", True), ("support", False), ("viewer", False)]


@pytest.fixture
def rate(db) -> TaxRate:
    return tax_rate_create(country="DE", name="VAT", percent=Decimal(19), inclusive=False, actor="system")


@pytest.mark.parametrize(("role", "may"), MAY)
def test_who_may_add(signed_in, role, may):
    operator = signed_in(role)
    assert operator.get(f"{LIST}add/").status_code == (200 if may else 403)

    assert operator.post(f"{LIST}add/", NEW).status_code == (302 if may else 403)

    assert TaxRate.objects.count() == may
    if may:
        made = TaxRate.objects.get()
        assert (made.country, made.name, made.percent, made.inclusive) == ("PL", "VAT", 23, True)
        entry = AuditEntry.objects.get(action="tax_rate.created")
        assert (entry.actor, entry.subject_id) == (f"user:{operator.user.pk}", made.pk)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"country": "DE"}, "DE has a rate already"),
        ({"country": "XX"}, "Select a valid choice"),
        ({"percent": "101"}, "From 0 to 100"),
        ({"percent": "-1"}, "From 0 to 100"),
        ({"percent": "1.23456"}, "4 decimal places"),
        ({"name": " "}, "This field is required"),
    ],
)
def test_what_the_service_refuses_is_told_on_the_page(signed_in, rate, change, told):
    answer = signed_in("finance").post(f"{LIST}add/", {**NEW, **change})

    assert answer.status_code == 200
    assert told in answer.text
    assert answer.text.count("uniq_tax_rates_country") == 0
    assert TaxRate.objects.count() == 1


@pytest.mark.parametrize(("role", "may"), MAY)
def test_who_may_switch_off(signed_in, rate, role, may):
    operator = signed_in(role)
    page = f"{LIST}{rate.pk}/change/"
    assert ("switch_off_this" in operator.get(page).text) is may
    asked = operator.get(f"{LIST}{rate.pk}/switch_off_this/")
    assert asked.status_code == (200 if may else 403)
    assert ("Buyers in Germany are taxed no more" in asked.text) is may

    operator.post(LIST, confirmed("switch_off", rate, from_page="yes"))

    rate.refresh_from_db()
    assert rate.is_active is not may
    assert AuditEntry.objects.filter(action="tax_rate.deactivated").count() == may
    assert "switch_off_this" not in operator.get(page).text


def test_nobody_edits_or_deletes_a_rate(signed_in, rate):
    superuser = signed_in("superuser")
    before = TaxRate.objects.values().get()

    assert superuser.get(f"{LIST}{rate.pk}/change/").status_code == 200
    assert superuser.post(f"{LIST}{rate.pk}/change/", {**NEW, "percent": "1"}).status_code == 403
    assert superuser.post(f"{LIST}{rate.pk}/delete/", {"post": "yes"}).status_code == 403
    superuser.post(LIST, {"action": "delete_selected", "_selected_action": [str(rate.pk)], "post": "yes"})

    assert TaxRate.objects.values().get() == before
