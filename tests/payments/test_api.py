"""Who may ask what of subscriptions, payments, invoices and methods, and that a refusal changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.roles import VIEWER
from payments.models import PaymentTransaction
from subscriptions.models import Subscription
from tests.factories import ApiKeyFactory, PlanFactory, StaffFactory, UserFactory
from tests.flows import nothing_changes, paid, refused

NOBODY = "00000000-0000-4000-8000-000000000000"


@dataclass
class World:
    """One customer with a paid subscription, and everybody who might ask for it."""

    subscription: Subscription
    charge: PaymentTransaction
    clients: dict

    def path(self, template: str) -> str:
        ids = {
            "subscription": self.subscription.pk,
            "payment": self.charge.pk,
            "invoice": self.charge.invoice_id,
            "method": self.subscription.payment_method_id,
            "user": self.subscription.user_id,
        }
        return "/api/v1/" + template.format(**ids)

    def ask(self, who: str, method: str, template: str, body=None):
        return getattr(self.clients[who], method.lower())(self.path(template), body)


@pytest.fixture
def world(api, user, other_user, admin) -> World:
    subscription, charge = paid(user)
    viewer = StaffFactory()
    viewer.groups.add(Group.objects.get_or_create(name=VIEWER)[0])
    return World(
        subscription,
        charge,
        {
            "anonymous": api,
            "owner": api.as_user(user),
            "other": api.as_user(other_user),
            "admin": api.as_user(admin),
            "viewer": api.as_user(viewer),
            "service": api.as_service(ApiKeyFactory(scopes=["subscriptions"])),
            "reader": api.as_service(ApiKeyFactory(scopes=["read"])),
            "counter": api.as_service(ApiKeyFactory(scopes=["usage"])),
        },
    )


ONE = ["subscriptions/{subscription}", "payments/{payment}", "invoices/{invoice}", "payment-methods/{method}"]
LISTS = ["subscriptions/", "payments/", "invoices/", "payment-methods/"]
#: Method, path, body.
WRITES = [
    ("PUT", "subscriptions/{subscription}", {"auto_renew": False}),
    ("DELETE", "subscriptions/{subscription}", None),
    ("DELETE", "subscriptions/{subscription}?when=now", None),
    ("POST", "subscriptions/{subscription}/resume", None),
    ("POST", "subscriptions/{subscription}/retry-payment", None),
]


@pytest.mark.parametrize("path", ONE)
def test_a_row_is_read_by_its_owner_operators_and_services_in_scope(world, path):
    for who in ("owner", "admin", "viewer", "service", "reader"):
        answer = world.ask(who, "GET", path)
        assert (answer.status_code, answer.json()["code"]) == (200, None), who
    refused(world.ask("anonymous", "GET", path), 401, "UNAUTHENTICATED")
    refused(world.ask("other", "GET", path), 404, "NOT_FOUND")
    refused(world.ask("counter", "GET", path), 403, "FORBIDDEN")
    gone = f"{path.partition('/')[0]}/{NOBODY}"
    refused(world.ask("admin", "GET", gone), 404, "NOT_FOUND")
    refused(world.ask("owner", "GET", f"{path.partition('/')[0]}/not-an-id"), 404, "NOT_FOUND")


@pytest.mark.parametrize("path", LISTS)
def test_a_list_shows_ones_own_rows_and_all_to_those_who_may(world, path):
    seen = {who: world.ask(who, "GET", path) for who in world.clients}

    counts = {who: len(answer.json()["data"]["results"]) for who, answer in seen.items() if answer.status_code == 200}
    assert counts == {"owner": 1, "other": 0, "admin": 1, "viewer": 1, "service": 1, "reader": 1}
    refused(seen["anonymous"], 401, "UNAUTHENTICATED")
    refused(seen["counter"], 403, "FORBIDDEN")
    assert seen["owner"].json()["data"]["count"] == 1
    bare = world.ask("owner", "GET", path.rstrip("/"))
    assert bare.json() == seen["owner"].json()


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=str)
def test_nobody_else_changes_a_subscription(world, method, path, body):
    with nothing_changes():
        refused(world.ask("anonymous", method, path, body), 401, "UNAUTHENTICATED")
        refused(world.ask("other", method, path, body), 404, "NOT_FOUND")
        refused(world.ask("reader", method, path, body), 403, "FORBIDDEN")
        refused(world.ask("counter", method, path, body), 403, "FORBIDDEN")
        refused(world.ask("admin", method, path.replace("{subscription}", NOBODY), body), 404, "NOT_FOUND")


def test_an_operator_whose_role_only_looks_changes_nothing(world):
    with nothing_changes():
        for method, path, body in WRITES:
            refused(world.ask("viewer", method, path, body), 403, "FORBIDDEN")
        refused(
            world.ask("viewer", "POST", "payments/", {"invoice_id": str(world.charge.invoice_id)}), 403, "FORBIDDEN"
        )
        body = {"plan_id": world.subscription.plan.code, "user_id": str(world.subscription.user_id)}
        refused(world.ask("viewer", "POST", "subscriptions/", body), 403, "FORBIDDEN")


@pytest.mark.parametrize("who", ["owner", "admin", "service"])
def test_those_who_may_cancel_it(world, who):
    assert world.ask(who, "DELETE", "subscriptions/{subscription}").status_code == 200
    world.subscription.refresh_from_db()
    assert (world.subscription.status, world.subscription.cancelled_at is not None) == ("active", True)


def test_me_is_for_persons_and_by_user_is_for_oneself_and_those_who_may(world):
    assert world.ask("owner", "GET", "subscriptions/me").json()["data"]["id"] == str(world.subscription.pk)
    with nothing_changes():
        for method in ("GET", "DELETE"):
            refused(world.ask("anonymous", method, "subscriptions/me"), 401, "UNAUTHENTICATED")
            refused(world.ask("other", method, "subscriptions/me"), 404, "NOT_FOUND")
            refused(world.ask("service", method, "subscriptions/me"), 403, "FORBIDDEN")
    path = "subscriptions/user/{user}"
    for who in ("owner", "admin", "viewer", "service", "reader"):
        [row] = world.ask(who, "GET", path).json()["data"]["results"]
        assert row["id"] == str(world.subscription.pk)
    refused(world.ask("anonymous", "GET", path), 401, "UNAUTHENTICATED")
    refused(world.ask("other", "GET", path), 404, "NOT_FOUND")
    refused(world.ask("counter", "GET", path), 403, "FORBIDDEN")


def test_payments_are_made_by_the_owner_and_nobody_else(world):
    body = {"invoice_id": str(world.charge.invoice_id)}
    with nothing_changes():
        refused(world.ask("anonymous", "POST", "payments/", body), 401, "UNAUTHENTICATED")
        refused(world.ask("other", "POST", "payments/", body), 400, "VALIDATION_ERROR")
        refused(world.ask("reader", "POST", "payments/", body), 403, "FORBIDDEN")
        refused(world.ask("counter", "POST", "payments/", body), 403, "FORBIDDEN")
        refused(world.ask("owner", "POST", "payments/", body), 409, "INVALID_TRANSITION")


def test_facts_are_read_only(world):
    with nothing_changes():
        for path in ("payments/{payment}", "invoices/{invoice}", "payment-methods/{method}"):
            for method in ("PUT", "PATCH", "DELETE"):
                refused(world.ask("admin", method, path, {"amount": 1}), 405, "METHOD_NOT_ALLOWED")
        for path in ("invoices/", "payment-methods/"):
            refused(world.ask("admin", "POST", path, {"amount": 1}), 405, "METHOD_NOT_ALLOWED")


def test_answers_hold_no_secret_of_the_provider(world):
    text = "".join(world.ask("owner", "GET", path).content.decode() for path in [*ONE, *LISTS])
    method = world.subscription.payment_method
    assert method.method_ref not in text
    assert method.customer_ref not in text
    assert "idempotency_key" not in text
    assert "gateway_response" not in text


@pytest.mark.parametrize("path", LISTS)
def test_a_list_takes_as_many_queries_for_ten_rows_as_for_one(api, admin, path):
    plan, client = PlanFactory(), api.as_user(admin)
    paid(UserFactory(), plan)
    with CaptureQueriesContext(connection) as one:
        assert len(client.get(f"/api/v1/{path}").json()["data"]["results"]) == 1
    for _ in range(9):
        paid(UserFactory(), plan)
    with CaptureQueriesContext(connection) as ten:
        assert len(client.get(f"/api/v1/{path}").json()["data"]["results"]) == 10
    assert len(ten) == len(one) <= 6


@pytest.mark.parametrize(
    "query", ["status=nonsense", "invoice=nonsense", "subscription=1", "fields=secret", "status=%00", "cursor=x"]
)
def test_a_filter_that_makes_no_sense_is_refused(world, query):
    refused(world.ask("owner", "GET", f"payments/?{query}"), 400, "VALIDATION_ERROR")


def test_filters_and_fields_narrow_the_answer(world):
    rows = world.ask("owner", "GET", "payments/?status=completed&type=charge&fields=id,amount").json()
    assert rows["data"]["results"] == [{"id": str(world.charge.pk), "amount": 10}]
    assert world.ask("owner", "GET", "payments/?status=failed").json()["data"]["results"] == []
    mine = world.ask("owner", "GET", f"payments/?subscription={world.subscription.pk}&fields=id")
    assert mine.json()["data"]["results"] == [{"id": str(world.charge.pk)}]
    assert world.ask("other", "GET", f"payments/?subscription={world.subscription.pk}").json()["data"]["results"] == []
