"""Operators' page of the coupons: the same rules, the same audit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payflow.core.models import AuditEntry
from plans.models import Coupon
from tests.factories import CouponFactory, PlanFactory
from tests.plans.test_coupons_api import everything, redeem

pytestmark = pytest.mark.django_db

LIST = "/admin/plans/coupon/"


@pytest.fixture
def page(client, billing_admin):
    client.force_login(billing_admin)
    return client


def form(**changes):
    """The page's form as the browser sends it."""
    return {
        "code": "SPRING",
        "name": "",
        "kind": "percent",
        "percent": "10",
        "amount": "",
        "currency": "",
        "duration": "once",
        "cycles": "",
        "starts_at_0": "",
        "starts_at_1": "",
        "ends_at_0": "",
        "ends_at_1": "",
        "max_redemptions": "",
        "is_active": "on",
        **changes,
    }


def faults(response):
    assert response.status_code == 200
    return {name: [str(fault) for fault in found] for name, found in response.context["adminform"].form.errors.items()}


@pytest.mark.parametrize("path", ["", "add/", "?q=spring", "?is_active__exact=1&kind__exact=fixed", "{pk}/change/"])
def test_the_pages_open(page, path):
    coupon = CouponFactory(code="SPRING", plans=[PlanFactory()])
    CouponFactory(code="FIVE", kind="fixed", amount=Decimal(5), currency="USD")
    assert page.get(LIST + path.format(pk=coupon.pk)).status_code == 200


def test_the_list_says_what_each_takes_off(page):
    CouponFactory(percent=Decimal("12.5"))
    CouponFactory(kind="fixed", amount=Decimal(500), currency="JPY")
    content = page.get(LIST).content.decode()
    assert "12.5 %" in content
    assert "500 JPY" in content


def test_adding_and_changing_go_through_the_services(page, billing_admin):
    basic, pro = PlanFactory(code="basic"), PlanFactory(code="pro")
    response = page.post(
        f"{LIST}add/", form(code="spring", plans=[str(basic.pk)], ends_at_0="2030-01-01", ends_at_1="00:00")
    )
    assert (response.status_code, response["Location"]) == (302, LIST)
    coupon = Coupon.objects.get()
    assert (coupon.code, coupon.percent, list(coupon.plans.all())) == ("SPRING", 10, [basic])

    changed = form(kind="fixed", percent="", amount="5", currency="USD", plans=[str(basic.pk), str(pro.pk)])
    assert page.post(f"{LIST}{coupon.pk}/change/", changed).status_code == 302

    coupon.refresh_from_db()
    assert (coupon.kind, coupon.percent, coupon.amount, coupon.ends_at) == ("fixed", None, 5, None)
    assert set(coupon.plans.all()) == {basic, pro}
    created, updated = AuditEntry.objects.order_by("pk")
    assert (created.action, created.data["plans"]) == ("coupon.created", ["basic"])
    assert (updated.action, set(updated.data)) == (
        "coupon.updated",
        {"kind", "percent", "amount", "currency", "ends_at", "plans"},
    )
    assert {(row.actor, row.subject_id) for row in (created, updated)} == {(f"user:{billing_admin.pk}", coupon.pk)}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"code": "a b"}, "code"),
        ({"code": "taken"}, "code"),
        ({"percent": "101"}, "percent"),
        ({"percent": ""}, "percent"),
        ({"amount": "5"}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"kind": "fixed", "percent": "", "amount": "1.5", "currency": "JPY"}, "amount"),
        ({"kind": "fixed", "percent": "", "amount": "1", "currency": "ZZZ"}, "currency"),
        ({"duration": "cycles"}, "cycles"),
        ({"cycles": "3"}, "cycles"),
        (
            {"starts_at_0": "2030-01-02", "starts_at_1": "00:00", "ends_at_0": "2030-01-01", "ends_at_1": "00:00"},
            "ends_at",
        ),
        ({"max_redemptions": "0"}, "max_redemptions"),
    ],
)
def test_bad_values_are_told_at_their_field(page, change, field):
    CouponFactory(code="TAKEN")
    coupon = CouponFactory(code="SPRING")
    before = everything()
    assert field in faults(page.post(f"{LIST}{coupon.pk}/change/", form(**change)))
    assert field in faults(page.post(f"{LIST}add/", form(**{"code": "NEW", **change})))
    assert everything() == before


def test_the_terms_of_a_redeemed_one_stay(page):
    coupon = CouponFactory(code="SPRING", max_redemptions=2)
    redeem(coupon)
    redeem(coupon)
    before = everything()
    response = page.post(f"{LIST}{coupon.pk}/change/", form(percent="11", max_redemptions="1"))
    assert set(faults(response)) == {"percent", "max_redemptions"}
    assert everything() == before


@pytest.mark.parametrize("way", ["page", "list"])
def test_deleting_goes_through_the_service_and_leaves_the_redeemed(page, way):
    used, unused = CouponFactory(code="USED"), CouponFactory(code="UNUSED")
    redeem(used)
    for coupon in (used, unused):
        if way == "page":
            page.post(f"{LIST}{coupon.pk}/delete/", {"post": "yes"})
        else:
            page.post(LIST, {"action": "delete_selected", "_selected_action": [str(coupon.pk)], "post": "yes"})
    assert list(Coupon.objects.values_list("code", flat=True)) == ["USED"]
    assert [(row.action, row.subject_id) for row in AuditEntry.objects.all()] == [("coupon.deleted", unused.pk)]


def test_the_action_deactivates(page):
    coupon = CouponFactory()
    page.post(LIST, {"action": "deactivate", "_selected_action": [str(coupon.pk)]})
    coupon.refresh_from_db()
    assert not coupon.is_active
    assert AuditEntry.objects.get().data == {"is_active": [True, False]}


def test_a_viewer_sees_and_changes_nothing(client, viewer):
    coupon = CouponFactory(code="SPRING")
    client.force_login(viewer)
    before = everything()
    assert client.get(f"{LIST}{coupon.pk}/change/").status_code == 200
    assert client.post(f"{LIST}{coupon.pk}/change/", form(name="New")).status_code == 403
    assert client.post(f"{LIST}add/", form()).status_code == 403
    assert client.post(f"{LIST}{coupon.pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(LIST, {"action": "deactivate", "_selected_action": [str(coupon.pk)]})
    assert everything() == before
