"""A name that nobody reads is refused: in every body, and in the query string of every list."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from drf_spectacular.generators import SchemaGenerator

from accounts.models import ApiKey
from payflow.core import clock
from plans.models import Coupon, Plan
from subscriptions.models import Subscription
from tests.factories import AdminFactory, ApiKeyFactory, CouponFactory, PlanFactory, UserFactory
from tests.flows import nothing_changes, paid, refused

pytestmark = pytest.mark.django_db
PATHS = SchemaGenerator().get_schema(public=True)["paths"]
WRITES = sorted((path, method) for path, methods in PATHS.items() for method in methods if method != "get")
#: Lists that are whole on one page.
UNPAGED = ("plans/active", "plans/compare", "subscriptions/plans")
LISTS = sorted(
    path
    for path, methods in PATHS.items()
    if path.removeprefix("/api/v1/") in UNPAGED
    or any(parameter["name"] == "cursor" for parameter in methods.get("get", {}).get("parameters", []))
)
#: The second document's own addresses.
ALIASED = [(f"/api{path.removeprefix('/api/v1')}", method) for path, method in WRITES if "v1/subscriptions" in path]
READ_ONLY = {"id": "x", "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z"}


@dataclass
class World:
    """One row of everything that a path can name, and who may do anything with it."""

    ids: dict
    clients: dict

    def ask(self, path: str, method: str, data=None):
        prefix = path.split("/api/")[1].removeprefix("v1/").split("/")[0]
        who = "service" if path.endswith(("/spend", "/batch")) else "anonymous" if "/auth/" in path else "admin"
        client = self.clients["admin" if "/api-keys" in path else who]
        address = path.format(id=self.ids.get(prefix), user_id=self.ids["user"], plan=self.ids["plans"])
        return getattr(client, method)(address, data, format="json")


@pytest.fixture
def world(api) -> World:
    admin = AdminFactory()
    subscription, charge = paid(admin)
    key, coupon = ApiKeyFactory(), CouponFactory()
    ids = {
        "auth": key.pk,
        "coupons": coupon.pk,
        "payments": charge.pk,
        "plans": subscription.plan_id,
        "subscriptions": subscription.pk,
        "user": admin.pk,
    }
    return World(ids, {"anonymous": api, "admin": api.as_user(admin), "service": api.as_service(key)})


def rows() -> list:
    """What the money's tables lack: the catalogue and the keys."""
    keys = ApiKey.objects.order_by("pk").values("pk", "digest", "revoked_at", "expires_at")
    return [*(list(model.objects.order_by("pk").values()) for model in (Plan, Coupon)), list(keys)]


def test_the_walk_meets_what_it_is_for():
    assert len(WRITES) >= 28
    assert {("/api/v1/subscriptions", "post"), ("/api/v1/coupons/validate", "post"), ("/api/v1/usage/log", "post")} <= {
        *WRITES
    }
    assert ("/api/subscriptions/me", "delete") in ALIASED
    assert len(LISTS) == 14
    assert "/api/v1/credits" in LISTS


@pytest.mark.parametrize(("path", "method"), [*WRITES, *ALIASED])
def test_an_unknown_field_of_any_body_is_refused_by_its_name(world, path, method):
    before, moment = rows(), clock.now()
    with nothing_changes():
        details = refused(world.ask(path, method, {"mispelt": 1}), 400, "VALIDATION_ERROR")
    assert details["mispelt"] in (["There is no such field"], ["This field cannot be changed"])
    assert rows() == before
    assert (clock.now() - moment).days == 0


@pytest.mark.parametrize("path", LISTS)
def test_an_unknown_parameter_of_any_list_is_refused_by_its_name(world, path):
    details = refused(world.ask(f"{path}?usr=1", "get"), 400, "VALIDATION_ERROR")
    assert details == {"usr": ["There is no such parameter"]}


@pytest.mark.parametrize("path", LISTS)
def test_what_every_list_takes_is_taken(world, path):
    query = "ids=a,b&format=json&ordering=id" if path.endswith("compare") else "format=json&ordering=id"
    for code in ("a", "b"):
        PlanFactory(code=code)
    assert world.ask(f"{path}?{query}", "get").status_code == 200


def test_a_page_is_asked_for_with_filters_and_its_own_parameters(world):
    query = "status=active&family=main&page_size=1&count=exact&fields=id"
    answer = world.ask(f"/api/v1/subscriptions?{query}", "get").json()["data"]
    assert answer["results"] == [{"id": str(world.ids["subscriptions"])}]


def test_a_misspelt_subscribe_buys_nothing(api):
    buyer = api.as_user(UserFactory())
    PlanFactory(code="pro")
    for body in ({"plan_id": "pro", "cupon": "SAVE"}, {"plan_id": "pro", "plan_code": "pro", "email": "a@b.c"}):
        with nothing_changes():
            details = refused(buyer.post("/api/subscriptions", body), 400, "VALIDATION_ERROR")
        assert set(details) == set(body) - {"plan_id"}
    assert not Subscription.objects.exists()
    misspelt = refused(buyer.post("/api/v1/coupons/validate", {"code": "X", "plan": "pro"}), 400, "VALIDATION_ERROR")
    assert set(misspelt) == {"plan", "plan_id"}


def test_a_misspelt_wish_to_cancel_now_cancels_nothing(world):
    path = "/api/v1/subscriptions/{id}"
    with nothing_changes():
        assert set(refused(world.ask(f"{path}?wen=now", "delete"), 400, "VALIDATION_ERROR")) == {"wen"}
        assert set(refused(world.ask(path, "delete", {"when": "now"}), 400, "VALIDATION_ERROR")) == {"when"}


def test_nested_fields_are_known_too(world):
    before, nested = rows(), {"prices": [{"currency": "EUR", "amount": 9, "amont": 1}]}
    details = refused(world.ask("/api/v1/plans/{id}", "patch", nested), 400, "VALIDATION_ERROR")
    assert details == {"prices": {"0": {"amont": ["There is no such field"]}}}
    assert rows() == before


@pytest.mark.parametrize("path", ["/api/v1/plans/{id}", "/api/v1/coupons/{id}"])
@pytest.mark.parametrize("method", ["put", "patch"])
def test_what_was_read_can_be_sent_back(world, path, method):
    read = world.ask(path, "get").json()["data"]
    assert set(READ_ONLY) <= set(read)

    answer = world.ask(path, method, {**read, "name": "Another name"})

    assert answer.status_code == 200, answer.content
    written = answer.json()["data"]
    assert {**written, "updated_at": None} == {**read, "name": "Another name", "updated_at": None}
    # and what is read only stays what it was, whatever is sent for it
    again = world.ask(path, method, {**read, **READ_ONLY})
    assert again.json()["data"]["created_at"] == read["created_at"]


def test_a_body_may_be_empty_where_none_is_needed(world):
    path = "/api/v1/subscriptions/{id}"
    assert world.ask(path, "delete").status_code == 200
    assert world.ask(f"{path}/resume", "post", {}).status_code == 200
    refused(world.ask(f"{path}/resume", "post", []), 400, "VALIDATION_ERROR")


def test_a_body_that_is_no_object_is_refused(world):
    for path, method in WRITES:
        if method == "delete":
            continue
        with nothing_changes():
            refused(world.ask(path, method, [{"plan_id": "pro"}]), 400, "VALIDATION_ERROR")
