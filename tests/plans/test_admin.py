"""Operators' pages of the plans: the same rules, the same audit."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from payflow.core.models import AuditEntry
from plans.models import Plan
from tests.factories import PlanFactory
from tests.plans.conftest import everything, subscribe

pytestmark = pytest.mark.django_db

LIST = "/admin/plans/plan/"


@pytest.fixture
def page(client, billing_admin):
    client.force_login(billing_admin)
    return client


def form(plan=None, prices=(), refs=(), actions=(), **changes):
    """The page's form as the browser sends it. `prices`, `refs` and `actions` are the rows of its tables."""
    data = {
        "code": plan.code if plan else "",
        "name": "Basic",
        "description": "",
        "price": "10.00",
        "currency": "USD",
        "billing_cycle": "monthly",
        "billing_interval": "1",
        "trial_days": "0",
        "trial_needs_method": "on",
        "features": json.dumps(plan.features if plan else {}),
        "max_usage_per_day": "100",
        "max_usage_per_month": "3000",
        "family": "main",
        "is_active": "on",
        "sort_order": "0",
        **changes,
    }
    for prefix, rows in (("action_prices", actions), ("prices", prices), ("provider_refs", refs)):
        saved = sum(1 for row in rows if "id" in row)
        data |= {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": saved}
        for number, row in enumerate(rows):
            data |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
            data[f"{prefix}-{number}-plan"] = str(plan.pk) if plan else ""
    return data


def faults(response):
    assert response.status_code == 200
    admin_form = response.context["adminform"].form
    return {name: [str(fault) for fault in found] for name, found in admin_form.errors.items()}


@pytest.mark.parametrize("path", ["", "add/", "?q=pro", "?is_active__exact=1&currency=USD", "{plan}/change/"])
def test_the_pages_open(page, path):
    plan = PlanFactory(code="pro")
    plan.prices.create(currency="EUR", amount=9)
    assert page.get(LIST + path.format(plan=plan.pk)).status_code == 200


def test_adding_goes_through_the_service(page, billing_admin):
    response = page.post(
        f"{LIST}add/",
        form(
            name="Big Plan",
            features='{"books": 2.0}',
            prices=[{"currency": "JPY", "amount": "900"}],
            refs=[{"provider": "apple", "ref": "big", "currency": ""}],
        ),
    )
    assert (response.status_code, response["Location"]) == (302, LIST)
    plan = Plan.objects.get()
    assert (plan.code, plan.name, repr(plan.features)) == ("big-plan", "Big Plan", "{'books': 2}")
    assert list(plan.prices.values_list("currency", "amount")) == [("JPY", Decimal(900))]
    assert list(plan.provider_refs.values_list("provider", "ref")) == [("apple", "big")]
    entries = AuditEntry.objects.order_by("pk")
    assert [entry.action for entry in entries] == ["plan.created", "plan.updated", "plan.updated"]
    assert {(entry.actor, entry.subject_id) for entry in entries} == {(f"user:{billing_admin.pk}", plan.pk)}


def test_changing_writes_what_changed(page):
    plan = PlanFactory(code="pro")
    kept = plan.prices.create(currency="EUR", amount=9)
    gone = plan.prices.create(currency="GBP", amount=8)
    rows = [
        {"id": str(kept.pk), "currency": "EUR", "amount": "9.50"},
        {"id": str(gone.pk), "currency": "GBP", "amount": "8", "DELETE": "on"},
    ]
    response = page.post(f"{LIST}{plan.pk}/change/", form(plan, price="12.50", prices=rows))
    assert response.status_code == 302
    plan.refresh_from_db()
    assert (plan.price, plan.code) == (Decimal("12.50"), "pro")
    assert list(plan.prices.values_list("currency", "amount")) == [("EUR", Decimal("9.50"))]
    changed = [sorted(entry.data) for entry in AuditEntry.objects.order_by("pk")]
    assert changed == [["price"], ["prices"]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": "-1"}, "price"),
        ({"price": "NaN"}, "price"),
        ({"currency": "JPY", "price": "1.5"}, "price"),
        ({"currency": "ZZZ"}, "currency"),
        ({"code": "active"}, "code"),
        ({"code": "taken"}, "code"),
        ({"features": '{"a": NaN}'}, "features"),
        ({"features": "{"}, "features"),
        ({"billing_interval": "0"}, "billing_interval"),
    ],
)
def test_bad_values_are_told_at_their_field(page, change, field):
    PlanFactory(code="taken")
    plan = PlanFactory(code="pro")
    before = everything()
    assert list(faults(page.post(f"{LIST}{plan.pk}/change/", form(plan, **change)))) == [field]
    assert everything() == before


@pytest.mark.parametrize(("field", "value"), [("price", "1.005"), ("code", "active"), ("features", '{"a": []}')])
def test_a_bad_plan_is_not_added(page, field, value):
    assert list(faults(page.post(f"{LIST}add/", form(**{field: value})))) == [field]
    assert not Plan.objects.exists()


def test_a_price_in_the_plans_own_currency_is_refused_as_a_whole(page):
    plan = PlanFactory(code="pro")
    before = everything()
    sent = form(plan, name="New", prices=[{"currency": "USD", "amount": "9"}])
    response = page.post(f"{LIST}{plan.pk}/change/", sent, follow=True)
    assert [str(message) for message in response.context["messages"]] == [
        "USD is the plan's own currency: its price stands in `price`"
    ]
    assert everything() == before


def test_what_subscriptions_copied_cannot_change(page, user):
    plan = PlanFactory(code="pro")
    subscribe(user, plan)
    before = everything()
    assert list(faults(page.post(f"{LIST}{plan.pk}/change/", form(plan, billing_cycle="yearly")))) == ["billing_cycle"]
    assert everything() == before


def test_lowering_is_confirmed(page, user):
    plan = PlanFactory(code="pro", features={"books": 2})
    subscribe(user, plan)
    before = everything()
    lower = form(plan, features='{"books": 1}')
    assert faults(page.post(f"{LIST}{plan.pk}/change/", lower)) == {
        "confirm": ["features.books: this takes something from 1 subscriptions. Confirm it."]
    }
    assert everything() == before
    assert page.post(f"{LIST}{plan.pk}/change/", {**lower, "confirm": "on"}).status_code == 302
    assert Plan.objects.get().features == {"books": 1}


@pytest.mark.parametrize("way", ["page", "list"])
def test_deleting_is_refused_when_in_use_and_audited_when_not(page, user, way):
    used, unused = PlanFactory(code="used"), PlanFactory(code="unused")
    subscribe(user, used)
    for plan in (used, unused):
        if way == "page":
            page.post(f"{LIST}{plan.pk}/delete/", {"post": "yes"})
        else:
            page.post(LIST, {"action": "delete_selected", "_selected_action": [str(plan.pk)], "post": "yes"})
    assert list(Plan.objects.values_list("code", flat=True)) == ["used"]
    assert [(entry.action, entry.subject_id) for entry in AuditEntry.objects.all()] == [("plan.deleted", unused.pk)]


def test_actions(page):
    plan = PlanFactory(code="pro")
    for action in ("deactivate", "clone", "activate"):
        page.post(LIST, {"action": action, "_selected_action": [str(plan.pk)]})
    assert list(Plan.objects.order_by("pk").values_list("code", "is_active")) == [("pro", True), ("basic", False)]
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "plan.updated",
        "plan.created",
        "plan.updated",
    ]


def test_a_viewer_sees_and_changes_nothing(client, viewer):
    plan = PlanFactory(code="pro")
    client.force_login(viewer)
    before = everything()
    assert client.get(f"{LIST}{plan.pk}/change/").status_code == 200
    assert client.post(f"{LIST}{plan.pk}/change/", form(plan, name="New")).status_code == 403
    assert client.post(f"{LIST}add/", form()).status_code == 403
    assert client.post(f"{LIST}{plan.pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(LIST, {"action": "deactivate", "_selected_action": [str(plan.pk)]})
    assert everything() == before


def test_prices_of_actions_are_a_set_too_and_the_old_ones_stay(page):
    row = {"action": "words", "currency": "USD", "settlement": "invoice", "model": "graduated", "included": "10"}
    tiers = '[{"up_to": 100, "unit_amount": 0.015}, {"up_to": null, "unit_amount": "0.01"}]'
    added = page.post(f"{LIST}add/", form(name="Big Plan", actions=[{**row, "tiers": tiers}]))
    assert added.status_code == 302
    plan = Plan.objects.get()
    first = plan.action_prices.get()
    assert [tier["unit_amount"] for tier in first.tiers] == ["0.015", "0.01"]

    changed = {**row, "id": first.pk, "model": "per_unit", "tiers": "[]", "unit_amount": "0.0025"}
    assert page.post(f"{LIST}{plan.pk}/change/", form(plan, actions=[changed])).status_code == 302
    refused = page.post(f"{LIST}{plan.pk}/change/", form(plan, actions=[{**row, "currency": "EUR", "tiers": tiers}]))

    assert b"words: it has no price in USD" in page.get(refused["Location"]).content
    present = plan.action_prices.get(retired_at=None)
    assert (present.unit_amount, present.tiers, plan.action_prices.count()) == (Decimal("0.0025"), [], 2)


def test_what_cannot_be_a_price_of_an_action_is_told_beside_it(page):
    row = {"action": "words", "currency": "USD", "settlement": "credit", "model": "package", "included": "0"}
    response = page.post(f"{LIST}add/", form(actions=[{**row, "tiers": "", "unit_amount": "1"}]))
    assert b"words: a package_size is what package has" in response.content
    assert not Plan.objects.exists()
