"""Every bad input: an envelope, the code, nothing written."""

from __future__ import annotations

import json

import pytest

from tests.factories import PlanFactory
from tests.plans.conftest import everything

pytestmark = pytest.mark.django_db

PLANS = "/api/v1/plans/"
GOOD = {"name": "Small", "price": 5, "currency": "USD", "billing_cycle": "yearly"}

FIELDS = [
    *(("price", value) for value in (-1, -0.01, "1e3", "NaN", "Infinity", "", "5 USD", True, None, [], 10**15, 5.001)),
    *(("currency", value) for value in ("usd", "US", "USDX", "", None, 840, "U$D", "ＵＳＤ")),
    *(("billing_cycle", value) for value in ("hourly", "Monthly", "", None, 1)),
    *(("billing_interval", value) for value in (0, -1, 367, 1.5, "x", None, True)),
    *(("trial_days", value) for value in (-1, 3651, 0.5, None)),
    *(("trial_needs_method", value) for value in (2, "perhaps", None)),
    *(("proration_unit", value) for value in ("hour", 1, "")),
    *(("max_usage_per_day", value) for value in (-1, 1.5, 2**31, "many")),
    *(("max_usage_per_month", value) for value in (-1, 1.5, 2**31, "many")),
    *(("name", value) for value in ("", "   ", "x" * 101, None, [], "a\0b")),
    *(("description", value) for value in ([], "x" * 10_001)),
    *(("code", value) for value in ("taken", "Upper", "a b", "-a", "x" * 51, "active", "compare", "analytics", "new")),
    *(("code", value) for value in ("plans", "0198c0de-0000-7000-8000-000000000000", "0" * 32)),
    *(("family", value) for value in ("", "Main", "a b", None)),
    *(("sort_order", value) for value in (32768, 0.5, None)),
    *(("is_active", value) for value in ("perhaps", None, [])),
    *(("features", value) for value in ([], "books", None, {"books": {"max": 1}}, {"books": [1]}, {"books": None})),
    *(("features", value) for value in ({"Books": 1}, {"books": -2}, {"": 1}, {"books": 1e16})),
    *(("prices", value) for value in ({}, "EUR", [{"currency": "EUR"}], [{"currency": "eur", "amount": 1}], None)),
    ("prices", [{"currency": "USD", "amount": 1}]),
    ("prices", [{"currency": "EUR", "amount": 1}, {"currency": "EUR", "amount": 2}]),
    ("prices", [{"currency": "EUR", "amount": -1}]),
    ("prices", [{"currency": "JPY", "amount": 1.5}]),
    ("provider_refs", [{"provider": "apple"}]),
    ("provider_refs", [{"provider": "", "ref": "a"}]),
    ("provider_refs", [{"provider": "apple", "ref": "a", "currency": "eur"}]),
    ("provider_refs", [{"provider": "apple", "ref": "a"}, {"provider": "apple", "ref": "a", "currency": "EUR"}]),
    ("provider_refs", [{"provider": "apple", "ref": "taken"}]),
]


@pytest.fixture
def client(api, admin):
    PlanFactory(code="mine")
    taken = PlanFactory(code="taken")
    taken.provider_refs.create(provider="apple", ref="taken")
    return api.as_user(admin)


def refused(response, code="VALIDATION_ERROR"):
    assert (response.status_code, response.json()["code"]) == (400, code), response.content
    body = response.json()
    assert (body["message"], body["data"]) == (None, None)
    assert body["error"]
    return body["details"]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_bad_value_names_its_field(client, field, value):
    before = everything()
    for response in (client.post(PLANS, {**GOOD, field: value}), client.patch(f"{PLANS}mine", {field: value})):
        if "\0" in str(value):
            refused(response)  # the body is not even read
        else:
            assert list(refused(response)) == [field]
    assert everything() == before


@pytest.mark.parametrize("value", [5.5, 0.1, "5.0001"])
def test_yen_have_no_decimals(client, value):
    before = everything()
    body = {**GOOD, "currency": "JPY", "price": value}
    assert refused(client.post(PLANS, body)) == {"price": ["JPY has 0 decimals"]}
    assert everything() == before
    # Written with a zero it is the same amount.
    response = client.post(PLANS, {**GOOD, "currency": "JPY", "price": "500.00"})
    assert b'"price":500,' in response.content


def test_a_new_currency_must_fit_the_price_there_is(client):
    client.patch(f"{PLANS}mine", {"price": 9.99})
    before = everything()
    assert refused(client.patch(f"{PLANS}mine", {"currency": "JPY"})) == {"price": ["JPY has 0 decimals"]}
    assert everything() == before


def test_a_new_currency_may_not_be_one_of_the_prices(client):
    client.patch(f"{PLANS}mine", {"prices": [{"currency": "EUR", "amount": 9}]})
    before = everything()
    assert list(refused(client.patch(f"{PLANS}mine", {"currency": "EUR"}))) == ["currency"]
    assert everything() == before
    response = client.patch(f"{PLANS}mine", {"currency": "EUR", "prices": [{"currency": "USD", "amount": 10}]})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"currency": "XXX"},
        {"currency": "ABC"},
        {"prices": [{"currency": "ZZZ", "amount": 1}]},
        {"provider_refs": [{"provider": "apple", "ref": "a", "currency": "ZZZ"}]},
    ],
)
def test_a_currency_that_does_not_exist(client, change):
    before = everything()
    for response in (client.post(PLANS, {**GOOD, **change}), client.patch(f"{PLANS}mine", change)):
        refused(response, "UNSUPPORTED_CURRENCY")
    assert everything() == before


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "[]",
        '"text"',
        "null",
        "{'name': 1}",
        json.dumps(GOOD).replace("5", "NaN"),
        json.dumps(GOOD).replace("5", "1e3"),
        json.dumps(GOOD).replace("5", "1e999"),
        json.dumps(GOOD).replace("5", "5.00001"),
        json.dumps(GOOD).replace("Small", "\\u0000"),
    ],
)
def test_malformed_bodies(client, text):
    before = everything()
    refused(client.post(PLANS, text, content_type="application/json"))
    if text not in ("", "[]"):
        refused(client.put(f"{PLANS}mine", text, content_type="application/json"))
    assert everything() == before


def test_another_content_type(client):
    before = everything()
    refused(client.post(PLANS, "name=Small", content_type="application/x-www-form-urlencoded"))
    assert everything() == before


def test_all_faults_at_once(client):
    details = refused(client.post(PLANS, {"name": "", "price": -1, "currency": "x", "billing_cycle": "x"}))
    assert set(details) == {"name", "price", "currency", "billing_cycle"}


def test_is_active_and_its_other_name_may_not_disagree(client):
    before = everything()
    assert list(refused(client.patch(f"{PLANS}mine", {"is_active": True, "active": False}))) == ["active"]
    assert everything() == before


def test_a_code_that_an_inactive_plan_has_is_taken(client):
    PlanFactory(code="hidden", is_active=False)
    assert refused(client.post(PLANS, {**GOOD, "code": "hidden"})) == {"code": ["A plan with the code 'hidden' exists"]}
