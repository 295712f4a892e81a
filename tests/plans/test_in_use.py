"""What subscriptions forbid, and what has to be confirmed because of them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core import clock
from plans import services
from plans.models import Plan
from subscriptions.models import LIVE, Status, Subscription
from tests.factories import PlanFactory, UserFactory
from tests.plans.conftest import START, everything, subscribe

pytestmark = pytest.mark.django_db

PRO = "/api/v1/plans/pro"
FIXED = [("billing_cycle", "yearly"), ("billing_interval", 3), ("currency", "EUR"), ("family", "extra")]


@pytest.fixture
def client(api, admin):
    return api.as_user(admin)


@pytest.fixture
def plan(db):
    return PlanFactory(
        code="pro",
        features={"books": 2, "offline": True, "words_per_day": 30},
        max_usage_per_day=100,
        max_usage_per_month=None,
    )


def test_the_states_without_anything_to_lose_are_all_but_the_live_ones():
    assert set(services.NOT_LIVE) == set(Status.values) - LIVE


@pytest.mark.parametrize("status", ["pending", "active", "expired"])
@pytest.mark.parametrize(("field", "value"), FIXED)
def test_what_subscriptions_copied_cannot_change(client, plan, user, status, field, value):
    subscribe(user, plan, status)
    before = everything()
    response = client.patch(PRO, {field: value, "name": "New"})
    assert (response.status_code, response.json()["code"]) == (409, "PLAN_IN_USE")
    assert response.json()["details"] == {"subscriptions": 1, "fields": [field]}
    assert everything() == before


@pytest.mark.parametrize(("field", "value"), FIXED)
def test_without_subscriptions_it_can(client, plan, user, field, value):
    subscribe(user, PlanFactory())
    assert client.patch(PRO, {field: value}).json()["data"][field] == value


@pytest.mark.parametrize("status", ["pending", "active", "cancelled"])
def test_a_plan_with_subscriptions_is_not_deleted(client, plan, user, status):
    subscribe(user, plan, status)
    before = everything()
    response = client.delete(PRO)
    assert (response.status_code, response.json()["code"]) == (409, "PLAN_IN_USE")
    assert everything() == before


def test_a_new_price_touches_nobody_who_subscribed(client, plan, user):
    subscription = subscribe(user, plan)
    before = Subscription.objects.values().get()
    assert client.patch(PRO, {"price": 99}).status_code == 200
    assert Plan.objects.get(code="pro").price == Decimal(99)
    assert Subscription.objects.values().get(pk=subscription.pk) == before


@pytest.mark.parametrize(
    ("change", "lowered"),
    [
        ({"max_usage_per_day": 99}, ["max_usage_per_day"]),
        ({"max_usage_per_month": 10**6}, ["max_usage_per_month"]),
        ({"features": {"offline": True, "words_per_day": 30}}, ["features.books"]),
        (
            {"features": {"books": 1, "offline": False, "words_per_day": 29}},
            ["features.books", "features.offline", "features.words_per_day"],
        ),
        ({"features": {"books": 2, "offline": True}, "max_usage_per_day": 0}, ["max_usage_per_day"]),
    ],
)
def test_lowering_is_confirmed_with_the_number_affected(client, plan, change, lowered):
    for status in ["active", "trial", "past_due", "expired", "cancelled", "pending"]:
        subscribe(UserFactory(), plan, status)
    before = everything()
    for unconfirmed in (client.patch(PRO, change), client.patch(f"{PRO}?confirm=false", {**change, "confirm": False})):
        assert (unconfirmed.status_code, unconfirmed.json()["code"]) == (400, "VALIDATION_ERROR")
        details = unconfirmed.json()["details"]
        assert (details["affected"], sorted(details["lowered"])) == (3, lowered)
        assert details["confirm"] == ["Send confirm=true to lower this for 3 subscriptions"]
    assert everything() == before
    assert client.patch(f"{PRO}?confirm=true", change).status_code == 200
    data = client.get(PRO).json()["data"]
    assert {name: data[name] for name in change} == change


def test_the_body_can_confirm(client, plan, user):
    subscribe(user, plan)
    assert client.patch(PRO, {"max_usage_per_day": 1, "confirm": True}).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"max_usage_per_day": None},
        {"features": {"books": -1, "offline": True, "words_per_day": -1, "pages": 5}},
        {"features": {"books": 2, "offline": True}},
        {"is_active": False},
        {"name": "New", "code": "pro2", "trial_days": 3, "price": 99},
    ],
)
def test_raising_needs_no_word(client, plan, user, change):
    subscribe(user, plan)
    assert client.patch(PRO, change).status_code == 200


def test_lowering_needs_no_word_where_nobody_has_anything(client, plan, user):
    subscribe(user, plan, "expired")
    assert client.patch(PRO, {"features": {}}).status_code == 200


def test_put_lowers_too(client, plan, user):
    subscribe(user, plan)
    before = everything()
    body = {"name": "Pro", "price": 10, "currency": "USD", "billing_cycle": "monthly"}
    details = client.put(PRO, body).json()["details"]
    assert sorted(details["lowered"]) == ["features.books", "features.offline", "max_usage_per_month"]
    assert everything() == before


@pytest.mark.parametrize("change", ["update", "delete"])
def test_a_change_locks_the_plan(plan, change):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        if change == "update":
            services.plan_update(plan_id=plan.pk, name="New", actor="system", at=START)
        else:
            services.plan_delete(plan_id=plan.pk, actor="system", at=START)
    assert 'FROM "plans"' in queries[1]["sql"]
    assert queries[1]["sql"].endswith('FOR NO KEY UPDATE OF "plans"')


def test_names_are_given_out_one_at_a_time(db):
    with CaptureQueriesContext(connection) as queries:
        services.plan_create(
            name="Pro", price=Decimal(1), currency="USD", billing_cycle="monthly", actor="system", at=START
        )
    statements = [query["sql"] for query in queries]
    lock = next(n for n, sql in enumerate(statements) if "pg_advisory_xact_lock" in sql)
    assert lock < next(n for n, sql in enumerate(statements) if '"plans"' in sql)


def test_a_clone_is_what_the_original_cannot_become(plan, user):
    subscribe(user, plan)
    plan.prices.create(currency="EUR", amount=9)
    plan.provider_refs.create(provider="apple", ref="pro")
    clone = services.plan_clone(plan_id=plan.pk, actor="system", at=clock.now())
    assert (clone.code, clone.name, clone.is_active) == ("basic", "Basic", False)
    assert (clone.price, clone.features, clone.family) == (plan.price, plan.features, plan.family)
    assert list(clone.prices.values_list("currency", "amount")) == [("EUR", Decimal(9))]
    assert not clone.provider_refs.exists()
    services.plan_update(plan_id=clone.pk, billing_cycle="yearly", actor="system", at=START)
    services.plan_deactivate(plan_id=plan.pk, actor="system", at=START)
    services.plan_activate(plan_id=clone.pk, actor="system", at=START)
    assert set(Plan.objects.values_list("code", "is_active")) == {("pro", False), ("basic", True)}
