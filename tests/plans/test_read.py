"""Reading plans through the API: shape, visibility, pages, comparison, constant queries."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from payflow.api.json import OK
from plans.models import PlanPrice, PlanProviderRef
from plans.selectors import plan_get
from tests.factories import PlanFactory
from tests.plans.conftest import operator, subscribe

pytestmark = pytest.mark.django_db

PLANS = "/api/v1/plans/"


def codes(response):
    assert response.status_code == 200, response.content
    return [row["code"] for row in response.json()["data"]["results"]]


@pytest.fixture
def pro(db):
    plan = PlanFactory(
        code="pro",
        name="Pro Plan",
        description="Professional plan with advanced features",
        price=Decimal("19.90"),
        features={"feature1": True, "max_storage": "100GB", "api_calls": 10000},
        max_usage_per_day=200,
        max_usage_per_month=None,
    )
    PlanPrice.objects.create(plan=plan, currency="JPY", amount=Decimal(2900))
    PlanPrice.objects.create(plan=plan, currency="EUR", amount=Decimal("17.50"))
    PlanProviderRef.objects.create(plan=plan, provider="apple", ref="com.example.pro")
    return plan


def expected(plan):
    return {
        "id": str(plan.pk),
        "code": "pro",
        "name": "Pro Plan",
        "description": "Professional plan with advanced features",
        "price": Decimal("19.90"),
        "currency": "USD",
        "billing_cycle": "monthly",
        "billing_interval": 1,
        "trial_days": 0,
        "trial_needs_method": True,
        "proration_unit": None,
        "features": {"feature1": True, "max_storage": "100GB", "api_calls": 10000},
        "max_usage_per_day": 200,
        "max_usage_per_month": None,
        "family": "main",
        "is_active": True,
        "active": True,
        "sort_order": 0,
        "prices": [{"currency": "EUR", "amount": Decimal("17.50")}, {"currency": "JPY", "amount": 2900}],
        "action_prices": [],
        "created_at": plan.created_at.isoformat().replace("+00:00", "Z"),
        "updated_at": plan.updated_at.isoformat().replace("+00:00", "Z"),
    }


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", ["id", "code"])
def test_a_plan_by_id_and_by_code_with_and_without_slash(api, pro, name, slash):
    response = api.get(f"{PLANS}{pro.pk if name == 'id' else pro.code}{slash}")
    assert response.status_code == 200
    body = json.loads(response.content, parse_float=Decimal)
    assert body == {"message": OK, "data": expected(pro), "error": None, "code": None, "details": None}
    assert b'"price":19.90,' in response.content
    assert b'{"currency":"JPY","amount":2900}' in response.content


def test_references_of_providers_are_for_operators(api, pro, user, viewer, service_key):
    reference = [{"provider": "apple", "ref": "com.example.pro", "currency": ""}]
    assert api.as_user(viewer).get(f"{PLANS}pro").json()["data"]["provider_refs"] == reference
    for client in (api, api.as_user(user), api.as_service(service_key)):
        assert "provider_refs" not in client.get(f"{PLANS}pro").json()["data"]
        assert client.get(f"{PLANS}pro?fields=code,provider_refs").json()["data"] == {"code": "pro"}
        assert "provider_refs" not in client.get(PLANS).json()["data"]["results"][0]
        assert "provider_refs" not in client.get(f"{PLANS}active").json()["data"]["results"][0]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["", "active", "compare"])
def test_lists_answer_with_and_without_the_slash(api, pro, path, slash):
    PlanFactory(code="basic")
    address = f"/api/v1/plans/{path}".rstrip("/") + slash
    assert api.get(address, {"ids": "pro,basic"} if path == "compare" else {}).status_code == 200


@pytest.mark.parametrize("name", ["nothing", "0198c0de-0000-7000-8000-000000000000", "PRO", "pro%20", "%F0%9F%98%80"])
def test_an_unknown_plan_is_404(api, pro, name):
    response = api.get(f"{PLANS}{name}")
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


def test_who_sees_a_plan_that_is_not_sold(api, user, other_user, admin, viewer, billing_admin, service_key):
    PlanFactory(code="new-plan", sort_order=1)
    old = PlanFactory(code="old", is_active=False)
    gone = PlanFactory(code="gone", is_active=False)
    subscribe(user, old)
    subscribe(other_user, gone, "expired")
    assert codes(api.get(PLANS)) == ["new-plan"]
    assert codes(api.as_service(service_key).get(PLANS)) == ["new-plan"]
    assert codes(api.as_user(user).get(PLANS)) == ["old", "new-plan"]
    assert codes(api.as_user(other_user).get(PLANS)) == ["gone", "new-plan"]
    for person in (admin, viewer, billing_admin, operator("support"), operator("finance")):
        assert codes(api.as_user(person).get(PLANS)) == ["gone", "old", "new-plan"]
        assert api.as_user(person).get(f"{PLANS}old").status_code == 200
    assert api.as_user(user).get(f"{PLANS}old").status_code == 200
    for client in (api, api.as_user(other_user), api.as_service(service_key)):
        assert client.get(f"{PLANS}old").json()["code"] == "NOT_FOUND"
        assert client.get(f"{PLANS}{old.pk}").json()["code"] == "NOT_FOUND"
        assert client.get(f"{PLANS}compare?ids=old,new-plan").json()["code"] == "NOT_FOUND"
    # What can be bought is the same for everybody.
    for client in (api, api.as_user(user), api.as_user(admin)):
        assert codes(client.get(f"{PLANS}active")) == ["new-plan"]


def test_a_customer_of_many_subscriptions_sees_a_plan_once(api, user):
    plan = PlanFactory(code="pro")
    for _ in range(3):
        subscribe(user, plan, "expired")
    assert codes(api.as_user(user).get(PLANS)) == ["pro"]


def test_wrong_credentials_are_refused_where_anyone_may_read(api):
    response = api.get(PLANS, headers={"Authorization": "Bearer nonsense"})
    assert (response.status_code, response.json()["code"]) == (401, "UNAUTHENTICATED")


def test_the_list_has_the_order_of_the_shop_window_over_pages(api):
    for code, sort_order, price in [("d", 2, 1), ("c", 1, 9), ("b", 1, 5), ("a", 1, 5)]:
        PlanFactory(code=code, sort_order=sort_order, price=Decimal(price))
    first = api.get(f"{PLANS}?page_size=3").json()["data"]
    assert [row["code"] for row in first["results"]] == ["a", "b", "c"]
    assert (first["count"], first["previous"]) == (4, None)
    assert codes(api.get(first["next"])) == ["d"]
    assert codes(api.get(f"{PLANS}active")) == ["a", "b", "c", "d"]


def test_lists_are_filtered_and_fields_chosen(api):
    PlanFactory(code="a", currency="EUR")
    PlanFactory(code="b", billing_cycle="yearly", family="extra")
    assert codes(api.get(f"{PLANS}?currency=EUR")) == ["a"]
    assert codes(api.get(f"{PLANS}?billing_cycle=yearly")) == ["b"]
    assert codes(api.get(f"{PLANS}?family=main")) == ["a"]
    assert codes(api.get(f"{PLANS}?is_active=false")) == []
    assert api.get(f"{PLANS}?billing_cycle=hourly").json()["code"] == "VALIDATION_ERROR"
    chosen = [{"code": "a", "active": True}, {"code": "b", "active": True}]
    for path in (PLANS, f"{PLANS}active"):
        assert api.get(f"{path}?fields=code,active").json()["data"]["results"] == chosen
        assert api.get(f"{path}?fields=code,secret").json()["code"] == "VALIDATION_ERROR"


def test_comparison_keeps_the_order_and_says_null_for_what_is_lacking(api):
    free = PlanFactory(code="free", price=0, features={"translations_per_day": 30, "books": 2})
    PlanFactory(code="premium", features={"books": -1, "offline": True, "translations_per_day": 300})
    data = api.get(f"{PLANS}compare?ids=premium,%20{free.pk},free").json()["data"]
    assert [row["code"] for row in data["plans"]] == ["premium", "free"]
    assert data["plans"][0] == api.get(f"{PLANS}premium").json()["data"]
    values = {row["key"]: row["values"] for row in data["features"]}
    assert values == {
        "books": {"premium": -1, "free": 2},
        "offline": {"premium": True, "free": None},
        "translations_per_day": {"premium": 300, "free": 30},
    }
    assert [list(row["values"]) for row in data["features"]] == [["premium", "free"]] * 3


@pytest.mark.parametrize("ids", ["", "free", "free,free", ",,", ",".join(["free"] * 50)])
def test_comparison_takes_two_to_ten(api, ids):
    PlanFactory(code="free")
    response = api.get(f"{PLANS}compare", {"ids": ids} if ids else {})
    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
    assert response.json()["details"] == {"ids": ["Name 2 to 10 different plans"]}


def test_comparison_of_ten_and_not_of_eleven(api):
    names = [PlanFactory(code=f"p{n}").code for n in range(11)]
    assert len(api.get(f"{PLANS}compare?ids={','.join(names[:10])}").json()["data"]["plans"]) == 10
    assert api.get(f"{PLANS}compare?ids={','.join(names)}").status_code == 400
    response = api.get(f"{PLANS}compare?ids=p1,nothing")
    assert (response.status_code, response.json()["details"]) == (404, {"ids": ["nothing"]})


@pytest.mark.parametrize("plans", [2, 9])
def test_lists_are_constant_in_queries(api, user, viewer, plans, django_assert_num_queries):
    for number in range(plans):
        plan = PlanFactory(code=f"p{number}")
        PlanPrice.objects.create(plan=plan, currency="EUR", amount=9)
        PlanProviderRef.objects.create(plan=plan, provider="apple", ref=f"p{number}")
        subscribe(user, plan, "expired")
    with django_assert_num_queries(4):  # count, plans, prices, prices of actions
        api.get(PLANS)
    with django_assert_num_queries(6):  # … and the user, his groups
        api.as_user(user).get(PLANS)
    with django_assert_num_queries(6):  # count, plans, prices, those of actions, references, the user
        api.as_user(viewer).get(PLANS)
    with django_assert_num_queries(3):  # plans, prices, those of actions
        api.get(f"{PLANS}compare?ids=p0,p1")
    with django_assert_num_queries(3):
        api.get(f"{PLANS}active")
    with django_assert_num_queries(0):  # from Redis
        api.get(f"{PLANS}active")


def test_a_plan_for_other_code_by_id_or_code():
    plan = PlanFactory(code="old", is_active=False)
    assert plan_get(plan.pk) == plan_get(str(plan.pk)) == plan_get("old") == plan
