"""Changing plans through the API: who may, what is written, what is told."""

from __future__ import annotations

from decimal import Decimal

import pytest
from prometheus_client import REGISTRY

from payflow.core.models import AuditEntry, OutboxEvent, OutboxHandling
from plans.models import Plan
from tests.factories import PlanFactory
from tests.plans.conftest import everything, operator

pytestmark = pytest.mark.django_db

PLANS = "/api/v1/plans/"
#: The first document's create request.
DOCUMENT = {
    "name": "Pro Plan",
    "description": "Professional plan with advanced features",
    "price": 19.99,
    "currency": "USD",
    "billing_cycle": "monthly",
    "features": {
        "feature1": True,
        "feature2": True,
        "feature3": True,
        "max_storage": "100GB",
        "api_calls": 10000,
    },
    "max_usage_per_day": 200,
    "max_usage_per_month": 6000,
    "is_active": True,
}
MINIMAL = {"name": "Small", "price": 5, "currency": "USD", "billing_cycle": "yearly"}


def send(client, method, address, body=None):
    return getattr(client, method)(address, body, format="json")


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_documents_request_makes_the_documents_plan(api, admin, slash):
    response = api.as_user(admin).post(f"/api/v1/plans{slash}", DOCUMENT)
    assert (response.status_code, response.json()["message"]) == (201, "Plan created")
    data = response.json()["data"]
    assert {name: data[name] for name in DOCUMENT} == DOCUMENT
    assert {"id", "created_at", "updated_at"} <= set(data)
    plan = Plan.objects.get()
    assert (plan.code, plan.price, plan.family) == ("pro-plan", Decimal("19.99"), "main")
    assert plan.features == DOCUMENT["features"]
    assert api.get(f"{PLANS}pro-plan").json()["data"].items() <= data.items()


def test_defaults_are_those_of_the_documents_table(api, admin):
    data = api.as_user(admin).post(PLANS, MINIMAL).json()["data"]
    assert (data["max_usage_per_day"], data["max_usage_per_month"]) == (100, 3000)
    assert (data["is_active"], data["description"], data["features"]) == (True, None, {})
    assert (data["billing_interval"], data["trial_days"], data["sort_order"]) == (1, 0, 0)
    assert (data["prices"], data["provider_refs"]) == ([], [])


def test_everything_else_that_a_plan_can_have(api, admin):
    body = {
        **MINIMAL,
        "code": "small_1",
        "billing_interval": 2,
        "trial_days": 14,
        "trial_needs_method": False,
        "proration_unit": "day",
        "family": "extra",
        "sort_order": -5,
        "max_usage_per_day": None,
        "max_usage_per_month": 0,
        "active": False,
        "features": {"books": 2.0, "rate": 0.25, "pages": -1},
        "prices": [{"currency": "JPY", "amount": 700}, {"currency": "KWD", "amount": "1.525"}],
        "provider_refs": [{"provider": "google", "ref": "small"}, {"provider": "apple", "ref": "s", "currency": "EUR"}],
    }
    response = api.as_user(admin).post(PLANS, body)
    data = response.json()["data"]
    assert b'"features":{"rate":0.25,"books":2,"pages":-1}' in response.content
    assert b'{"currency":"KWD","amount":1.525}' in response.content
    assert data["prices"] == [{"currency": "JPY", "amount": 700}, {"currency": "KWD", "amount": 1.525}]
    assert data["provider_refs"] == [
        {"provider": "apple", "ref": "s", "currency": "EUR"},
        {"provider": "google", "ref": "small", "currency": ""},
    ]
    kept = (
        "code",
        "billing_interval",
        "trial_days",
        "trial_needs_method",
        "proration_unit",
        "family",
        "sort_order",
        "max_usage_per_day",
        "max_usage_per_month",
    )
    assert {name: data[name] for name in kept} == {name: body[name] for name in kept}
    assert (data["is_active"], data["active"]) == (False, False)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Pro Plan", "pro-plan-3"),
        ("Prö!", "pro"),
        ("日本", "plan"),
        ("Active", "active-2"),
        ("0198C0DE 0000 7000 8000 000000000000", "0198c0de-0000-7000-8000-000000000000-2"),
        ("x" * 100, "x" * 40),
    ],
)
def test_a_code_comes_from_the_name(api, admin, name, code):
    PlanFactory(code="pro-plan")
    PlanFactory(code="pro-plan-2")
    data = api.as_user(admin).post(PLANS, {**MINIMAL, "name": name}).json()["data"]
    assert (data["code"], data["name"]) == (code, name)


def test_put_replaces_the_documents_fields_and_leaves_what_the_document_does_not_know(api, admin):
    plan = PlanFactory(
        code="pro", description="old", features={"books": 2}, is_active=False, trial_days=7, sort_order=3
    )
    api.as_user(admin).patch(f"{PLANS}pro", {"prices": [{"currency": "EUR", "amount": 4}]})
    response = api.as_user(admin).put(f"{PLANS}{plan.pk}", MINIMAL)
    assert (response.status_code, response.json()["message"]) == (200, "Plan updated")
    data = response.json()["data"]
    assert {name: data[name] for name in MINIMAL} == MINIMAL
    assert (data["description"], data["features"], data["is_active"]) == (None, {}, True)
    assert (data["max_usage_per_day"], data["max_usage_per_month"]) == (100, 3000)
    assert (data["code"], data["trial_days"], data["sort_order"]) == ("pro", 7, 3)
    assert data["prices"] == [{"currency": "EUR", "amount": 4.0}]


@pytest.mark.parametrize("field", ["name", "price", "currency", "billing_cycle"])
@pytest.mark.parametrize("method", ["post", "put"])
def test_the_documents_required_fields(api, admin, method, field):
    PlanFactory(code="pro")
    before = everything()
    body = {name: value for name, value in MINIMAL.items() if name != field}
    response = send(api.as_user(admin), method, PLANS if method == "post" else f"{PLANS}pro", body)
    assert response.status_code == 400
    assert response.json()["details"] == {field: ["This field is required."]}
    assert everything() == before


def test_what_was_read_can_be_put_back(api, admin):
    PlanFactory(code="pro", features={"books": 2})
    before = everything()
    read = api.as_user(admin).get(f"{PLANS}pro").json()["data"]
    assert api.as_user(admin).put(f"{PLANS}pro", read).json()["data"] == read
    # Nothing changed, so nothing was written and nobody was told.
    assert everything() == before


def test_patch_changes_only_what_it_names(api, admin):
    plan = PlanFactory(code="pro", features={"books": 2})
    response = api.as_user(admin).patch(f"{PLANS}pro/", {"price": "12.50"})
    assert b'"price":12.50' in response.content
    after = Plan.objects.values().get()
    assert after == {**Plan.objects.filter(pk=plan.pk).values().get(), "price": Decimal("12.50")}
    assert (after["features"], after["name"]) == ({"books": 2}, "Basic")


def test_a_switch_and_a_limit_of_one_are_not_the_same(api, admin):
    PlanFactory(code="pro", features={"books": 1, "offline": True})
    api.as_user(admin).patch(f"{PLANS}pro", {"features": {"books": True, "offline": 1}})
    assert repr(Plan.objects.get().features) == "{'books': True, 'offline': 1}"


def test_prices_and_references_are_replaced_as_sets(api, admin):
    PlanFactory(code="pro")
    change = api.as_user(admin).patch
    change(f"{PLANS}pro", {"prices": [{"currency": "EUR", "amount": 9}, {"currency": "GBP", "amount": 8}]})
    data = change(f"{PLANS}pro", {"prices": [{"currency": "EUR", "amount": 9.5}]}).json()["data"]
    assert data["prices"] == [{"currency": "EUR", "amount": 9.5}]
    change(f"{PLANS}pro", {"provider_refs": [{"provider": "apple", "ref": "a"}]})
    data = change(f"{PLANS}pro", {"provider_refs": [{"provider": "apple", "ref": "b"}]}).json()["data"]
    assert data["provider_refs"] == [{"provider": "apple", "ref": "b", "currency": ""}]
    assert data["prices"] == [{"currency": "EUR", "amount": 9.5}]
    assert change(f"{PLANS}pro", {"prices": [], "provider_refs": []}).json()["data"]["prices"] == []


@pytest.mark.parametrize("name", ["id", "code"])
def test_delete_answers_200_in_the_envelope(api, admin, name):
    plan = PlanFactory(code="pro")
    address = f"{PLANS}{plan.pk if name == 'id' else 'pro'}"
    response = api.as_user(admin).delete(address)
    assert response.status_code == 200
    assert response.json() == {"message": "Plan deleted", "data": None, "error": None, "code": None, "details": None}
    assert not Plan.objects.exists()
    assert api.as_user(admin).delete(address).json()["code"] == "NOT_FOUND"


CALLERS = ["anonymous", "customer", "viewer", "support", "finance", "staff", "service"]
WRITES = [("post", PLANS), ("put", f"{PLANS}pro"), ("patch", f"{PLANS}pro/"), ("delete", f"{PLANS}pro")]


@pytest.fixture
def caller(request, api, user, staff, service_key):
    match request.param:
        case "anonymous":
            return api
        case "customer":
            return api.as_user(user)
        case "staff":
            return api.as_user(staff)
        case "service":
            return api.as_service(service_key)
    return api.as_user(operator(request.param))


@pytest.mark.parametrize("caller", CALLERS, indirect=True)
@pytest.mark.parametrize(("method", "address"), WRITES)
def test_who_may_not_write_changes_nothing(caller, method, address, request):
    PlanFactory(code="pro")
    before = everything()
    response = send(caller, method, address, MINIMAL)
    anonymous = request.node.callspec.params["caller"] == "anonymous"
    expected = (401, "UNAUTHENTICATED") if anonymous else (403, "FORBIDDEN")
    assert (response.status_code, response.json()["code"]) == expected
    assert set(response.json()) == {"message", "data", "error", "code", "details"}
    assert everything() == before


@pytest.mark.parametrize("caller", ["billing-admin"], indirect=True)
def test_a_billing_admin_may_write(caller):
    assert caller.post(PLANS, {**MINIMAL, "code": "pro"}).status_code == 201
    assert caller.put(f"{PLANS}pro", {**MINIMAL, "price": 6}).json()["data"]["price"] == 6.0
    assert caller.patch(f"{PLANS}pro", {"price": 7}).json()["data"]["price"] == 7.0
    assert caller.delete(f"{PLANS}pro").status_code == 200


@pytest.mark.parametrize("path", ["", "active", "compare", "pro"])
def test_other_methods_are_405(api, admin, path):
    PlanFactory(code="pro")
    method = "patch" if path == "" else "post"
    response = send(api.as_user(admin), method, f"{PLANS}{path}", {})
    assert (response.status_code, response.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


def test_a_key_makes_one_plan_of_two_posts(api, admin):
    client = api.as_user(admin)
    answers = [client.post(PLANS, MINIMAL, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert Plan.objects.count() == 1


def test_every_change_is_audited_and_told_once(api, admin):
    client = api.as_user(admin)
    plan_id = client.post(PLANS, {**MINIMAL, "code": "pro", "trial_days": 7}).json()["data"]["id"]
    client.patch(f"{PLANS}pro", {"price": 6, "trial_days": 7, "prices": [{"currency": "JPY", "amount": 900}]})
    client.delete(f"{PLANS}pro")
    created, updated, deleted = AuditEntry.objects.order_by("pk")
    assert {entry.actor for entry in AuditEntry.objects.all()} == {f"user:{admin.pk}"}
    assert {str(entry.subject_id) for entry in AuditEntry.objects.all()} == {plan_id}
    assert (created.action, created.data["price"], created.data["trial_days"]) == ("plan.created", "5", 7)
    assert (updated.action, updated.data) == (
        "plan.updated",
        {"price": ["5", "6"], "prices": [[], [{"currency": "JPY", "amount": "900"}]]},
    )
    assert (deleted.action, deleted.data) == ("plan.deleted", {"code": "pro", "name": "Small"})
    events = OutboxEvent.objects.order_by("pk")
    assert [event.type for event in events] == ["plan.created", "plan.updated", "plan.deleted"]
    assert events[1].payload == {"plan_id": plan_id, "code": "pro", "changed": ["price", "prices"]}
    assert OutboxHandling.objects.filter(handler="plans.cache").count() == 3


def test_operations_are_counted(api, admin):
    def counts():
        return [
            REGISTRY.get_sample_value("payflow_plan_operations_total", {"operation": operation, "status": status}) or 0
            for operation, status in [("create", "success"), ("create", "refused"), ("delete", "success")]
        ]

    before = counts()
    client = api.as_user(admin)
    client.post(PLANS, {**MINIMAL, "code": "pro"})
    client.post(PLANS, {**MINIMAL, "code": "pro"})
    client.delete(f"{PLANS}pro")
    assert [after - one for after, one in zip(counts(), before, strict=True)] == [1, 1, 1]
