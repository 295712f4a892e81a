"""usage/… and entitlements/… over HTTP: who may, what comes in, what goes out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from payflow.core import clock
from tests.factories import ApiKeyFactory
from tests.usage.factories import plan, subscribed
from tests.usage.support import written
from usage.models import UsageLog

#: Business time stands at noon, so that no test runs over a midnight.
NOON = datetime(2040, 5, 16, 12, 0, tzinfo=UTC)
NOTHING = (0, 0, 0)


@pytest.fixture(autouse=True)
def noon(db):
    clock.move_to(NOON)


@pytest.fixture
def subscriber(user):
    subscribed(user, now=NOON, features={"books_per_day": 3, "exports": False, "support": "mail"})
    return user


@pytest.fixture
def client(api, subscriber):
    return api.as_user(subscriber)


def log(client, **body):
    return client.post("/api/v1/usage/log", {"action": "books", **body})


def test_logging_answers_what_is_left(client, subscriber):
    response = log(client, quantity=2, content_id="b-1", metadata={"pages": 3.5})

    assert response.status_code == 201
    body = response.json()
    entry = UsageLog.objects.get()
    occurred_at = datetime.fromisoformat(body["data"].pop("occurred_at"))
    assert timedelta(0) <= occurred_at - NOON < timedelta(minutes=5)
    assert occurred_at == entry.occurred_at
    assert body["data"].pop("limits")[0] == {
        "limit": "books_per_day",
        "action": "books",
        "window": "day",
        "max": 3,
        "used": 2,
        "remaining": 1,
        "resets_at": "2040-05-17T00:00:00Z",
    }
    assert body == {
        "message": "Usage logged",
        "data": {
            "id": str(entry.pk),
            "action": "books",
            "quantity": 2,
            "remaining": 1,
            "replayed": False,
            "charge": None,
        },
        "error": None,
        "code": None,
        "details": None,
    }
    assert (entry.user_id, entry.metadata) == (subscriber.pk, {"pages": 3.5})


def test_the_limit_is_429_with_retry_after(client):
    response = log(client, quantity=4)

    assert response.status_code == 429
    assert response.json()["code"] == "USAGE_LIMIT_EXCEEDED"
    assert response.json()["details"]["limit"] == "books_per_day"
    assert response.json()["details"]["resets_at"] == "2040-05-17T00:00:00Z"
    assert 12 * 3600 - 300 < int(response["Retry-After"]) <= 12 * 3600
    assert written() == NOTHING


def test_a_limit_for_ever_has_no_retry_after(api, user):
    subscribed(user, now=NOON, features={"books": 0})

    response = log(api.as_user(user))

    assert response.status_code == 429
    assert "Retry-After" not in response


def test_a_false_switch_is_403(client):
    response = log(client, action="exports")

    assert (response.status_code, response.json()["code"]) == (403, "NOT_ENTITLED")


def test_no_subscription_is_403_unless_a_plan_is_everybodys(api, user, settings):
    client = api.as_user(user)
    assert log(client).json()["code"] == "NOT_ENTITLED"

    plan(code="everybody")
    settings.PAYFLOW_DEFAULT_PLAN = "everybody"
    assert log(client).status_code == 201


def test_a_dry_run_answers_200_and_takes_nothing(client):
    response = log(client, dry_run=True)

    assert response.status_code == 200
    assert (response.json()["data"]["id"], response.json()["data"]["remaining"]) == (None, 2)
    assert written() == NOTHING


@pytest.mark.parametrize("by", ["body", "header"])
def test_an_event_counts_once(client, by):
    def send(**body):
        if by == "header":
            return client.post("/api/v1/usage/log", {"action": "books", **body}, headers={"Idempotency-Key": "e-1"})
        return log(client, event_id="e-1", **body)

    first, again, other = send(), send(), send(quantity=2)

    assert (first.status_code, again.status_code) == (201, 201)
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    assert again.json()["data"] == {**first.json()["data"], "replayed": True}
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")
    assert written() == (1, 1, 5)
    assert UsageLog.objects.get().event_id == "e-1"


def test_header_and_event_id_must_not_differ(client):
    def send(event_id):
        body = {"action": "books", "event_id": event_id}
        return client.post("/api/v1/usage/log", body, headers={"Idempotency-Key": "e-1"})

    assert send("e-2").status_code == 400
    assert send("e-1").status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {"action": "*"},
        {"action": None},
        {"action": ["books"]},
        {"quantity": 0},
        {"quantity": 1.5},
        {"quantity": "1"},
        {"quantity": 10**17},
        {"metadata": "x"},
        {"metadata": {"a": "x" * 9000}},
        {"content_id": 7},
        {"event_id": ""},
        {"dry_run": "yes"},
        {"user_id": "me"},
        {"user_id": 7},
        {"user_id": ["x"]},
    ],
)
def test_bad_input_is_400_and_writes_nothing(client, body):
    response = log(client, **body)

    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
    assert list(response.json()["details"]) == list(body)
    assert written() == NOTHING


@pytest.mark.parametrize(
    "raw", ["", "[]", "{", '{"action": "books", "content_id": "\\u0000"}', '{"action": "\\ud800"}']
)
def test_a_bad_body_is_400_and_writes_nothing(client, raw):
    response = client.post("/api/v1/usage/log", raw, content_type="application/json")

    assert response.status_code == 400
    assert written() == NOTHING


@pytest.mark.parametrize("key", [" ", "x" * 256, "ä"])
def test_a_bad_key_is_400(client, key):
    response = client.post("/api/v1/usage/log", {"action": "books"}, headers={"Idempotency-Key": key})

    assert response.status_code == 400
    assert written() == NOTHING


def test_a_service_names_the_user(api, subscriber, service_key):
    service = api.as_service(service_key)

    assert log(service).json()["details"] == {"user_id": ["A service names the user"]}
    unknown = log(service, user_id=str(uuid.uuid4()))
    assert (unknown.status_code, unknown.json()["code"]) == (400, "VALIDATION_ERROR")
    assert log(service, user_id=str(subscriber.pk)).status_code == 201
    assert UsageLog.objects.get().user_id == subscriber.pk


def test_the_entitlement(client, subscriber):
    body = client.get("/api/v1/entitlements").json()["data"]

    row = subscriber.subscriptions.get()
    assert body.pop("limits")[0] == {
        "limit": "books_per_day",
        "action": "books",
        "window": "day",
        "max": 3,
        "used": 0,
        "remaining": 3,
        "resets_at": "2040-05-17T00:00:00Z",
    }
    assert body == {
        "entitled": True,
        "plan": {"id": str(row.plan_id), "code": row.plan.code, "name": row.plan.name},
        "status": "active",
        "access_until": "2040-05-31T13:00:00Z",
        "features": {
            "books_per_day": {"type": "limit", "value": 3},
            "exports": {"type": "switch", "value": False},
            "support": {"type": "text", "value": "mail"},
        },
        "priced_actions": [],
        "subscription_id": str(row.pk),
    }
    assert client.get("/api/v1/entitlements?fields=entitled,status").json()["data"] == {
        "entitled": True,
        "status": "active",
    }
    assert client.get("/api/v1/entitlements?fields=secrets").status_code == 400


def test_the_entitlement_of_nobody_is_an_answer(api, user):
    response = api.as_user(user).get("/api/v1/entitlements/")

    assert response.status_code == 200
    assert response.json()["data"] == {
        "entitled": False,
        "plan": None,
        "status": None,
        "access_until": None,
        "features": {},
        "limits": [],
        "priced_actions": [],
        "subscription_id": None,
    }


# --- who may -----------------------------------------------------------------------------------------------------------

MATRIX = {
    # path: (nobody, the user, another, staff, a service with: read, usage, refunds only)
    "GET entitlements": (401, 200, 200, 200, 403, 403, 403),
    "GET entitlements/user/{id}": (401, 200, 404, 200, 200, 200, 403),
    "GET usage": (401, 200, 200, 200, 403, 403, 403),
    "GET usage/user/{id}": (401, 200, 404, 200, 200, 200, 403),
    "POST usage/log": (401, 201, 403, 403, 403, 201, 403),
}


@pytest.fixture
def callers(api, subscriber, other_user, staff):
    services = [api.as_service(ApiKeyFactory(scopes=[scope])) for scope in ("read", "usage", "refunds")]
    return [api, *(api.as_user(each) for each in (subscriber, other_user, staff)), *services]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("endpoint", MATRIX)
def test_who_may(endpoint, slash, callers, subscriber):
    method, path = endpoint.split()
    url = f"/api/v1/{path.format(id=subscriber.pk)}{slash}"

    found = []
    for caller in callers:
        before = written()
        if method == "GET":
            response = caller.get(url)
        else:
            response = caller.post(url, {"action": "books", "user_id": str(subscriber.pk)})
        found.append(response.status_code)
        assert (written() == before) == (response.status_code != 201)

    assert tuple(found) == MATRIX[endpoint]


@pytest.mark.parametrize("path", ["entitlements/user", "usage/user"])
@pytest.mark.parametrize("user_id", ["me", "00000000-0000-7000-8000-000000000000"])
def test_an_unknown_user_is_404(api, staff, service_key, path, user_id):
    for client in (api.as_user(staff), api.as_service(service_key)):
        response = client.get(f"/api/v1/{path}/{user_id}")
        assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["usage/log", "entitlements", "usage"])
def test_other_methods_are_405(client, path):
    response = client.delete(f"/api/v1/{path}")

    assert (response.status_code, response.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


def test_all_of_it_is_in_the_schema(api):
    from drf_spectacular.generators import SchemaGenerator

    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]

    for endpoint in MATRIX:
        method, path = endpoint.replace("{id}", "{user_id}").split()
        operation = paths[f"/api/v1/{path}"][method.lower()]
        assert {"401", "403", "429"} <= operation["responses"].keys()
    assert paths["/api/v1/usage/log"]["post"]["responses"].keys() >= {"200", "201", "400", "422"}
