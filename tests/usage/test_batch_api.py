"""POST usage/batch over HTTP: who may, what comes in, what goes out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from payflow.core import clock
from tests.factories import ApiKeyFactory
from tests.usage.factories import subscribed
from tests.usage.support import written
from usage.batch.service import MAX_EVENTS
from usage.models import UsageLog

NOON = datetime(2040, 5, 16, 12, 0, tzinfo=UTC)
NOTHING = (0, 0, 0)


@pytest.fixture(autouse=True)
def noon(db):
    clock.move_to(NOON)


@pytest.fixture
def subscriber(user):
    subscribed(user, now=NOON, features={"books_per_day": 3})
    return user


@pytest.fixture
def service(api, subscriber):
    return api.as_service(ApiKeyFactory(scopes=["usage"]))


def event(user, number=1, **fields):
    return {"user_id": str(user.pk), "action": "books", "event_id": f"e-{number}", **fields}


def post(client, body, path="/api/v1/usage/batch"):
    return client.post(path, body)


def test_a_batch_answers_counts_and_verdicts(service, subscriber):
    events = [
        event(subscriber, quantity=3, metadata={"pages": 3.5}, occurred_at="2040-05-16T13:30:00+02:00"),
        event(subscriber, 2, quantity=1.0),
        event(subscriber, 3, quantity=1.5),
        event(subscriber, 2),
        {"event_id": 7},
    ]

    response = post(service, {"events": events}, "/api/v1/usage/batch/")

    assert response.status_code == 200
    data = response.json()["data"]
    assert data.pop("verdicts") == [
        {
            "position": 1,
            "event_id": "e-2",
            "verdict": "over_limit",
            "code": None,
            "details": {"limits": ["books_per_day"]},
        },
        {
            "position": 2,
            "event_id": "e-3",
            "verdict": "refused",
            "code": "VALIDATION_ERROR",
            "details": {"quantity": ["A whole number from 1 to 1000000"]},
        },
        {"position": 3, "event_id": "e-2", "verdict": "duplicate", "code": None, "details": None},
        {
            "position": 4,
            "event_id": None,
            "verdict": "refused",
            "code": "VALIDATION_ERROR",
            "details": {
                "action": ["1 to 50 of a-z, 0-9 and _ . : -"],
                "event_id": ["1 to 255 characters"],
                "user_id": ["This is not a UUID"],
            },
        },
    ]
    assert data == {"accepted": 2, "duplicates": 1, "refused": 2, "over_limit": 1}
    entry = UsageLog.objects.get(event_id="e-1")
    assert (entry.metadata, entry.occurred_at.isoformat()) == ({"pages": 3.5}, "2040-05-16T11:30:00+00:00")
    assert written() == (2, 2, 20)


@pytest.mark.parametrize("body", [[], {}, {"events": {}}, {"events": None}, {"events": [], "dry_run": True}], ids=str)
def test_a_bad_body_is_400_and_writes_nothing(service, body):
    response = post(service, body)

    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
    assert written() == NOTHING


@pytest.mark.parametrize(
    "bad",
    [
        '"content_id": "cut in two \\ud83d"',
        '"content_id": "\\u0000"',
        '"quantity": 100000000000000000000000',
        '"metadata": ' + '{"a":' * 70 + "1" + "}" * 70,
    ],
    ids=["half a character", "NUL", "a number beyond all use", "nested too deep"],
)
def test_what_cannot_be_stored_is_refused_alone(service, subscriber, bad):
    own = f'"user_id": "{subscriber.pk}", "action": "books"'
    raw = f'{{"events": [{{{own}, "event_id": "e-1"}}, {{{own}, "event_id": "e-2", {bad}}}, 1e999]}}'

    response = service.post("/api/v1/usage/batch", raw, content_type="application/json")

    assert response.status_code == 200, response.content
    data = response.json()["data"]
    assert (data["accepted"], [each["position"] for each in data["verdicts"]]) == (1, [1, 2])
    assert {each["code"] for each in data["verdicts"]} == {"VALIDATION_ERROR"}


@pytest.mark.parametrize("bad", ['"more": "\\u0000"', '"more": 1e999', '"more": "\\ud83d"'])
def test_beside_the_events_it_refuses_the_body(service, subscriber, bad):
    raw = f'{{"events": [{{"user_id": "{subscriber.pk}", "action": "books", "event_id": "e-1"}}], {bad}}}'
    assert service.post("/api/v1/usage/batch", raw, content_type="application/json").status_code == 400
    assert written() == NOTHING


def test_too_much_is_413_and_more_than_another_request_may_have_is_not(service, subscriber, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    refused = post(service, {"events": [event(subscriber)] * (MAX_EVENTS + 1)})
    assert (refused.status_code, refused.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert refused.json()["details"] == {"max_events": 5000}
    assert written() == NOTHING

    many = post(service, {"events": [event(subscriber, number) for number in range(100)]})
    assert many.json()["data"]["accepted"] == 100


def test_services_with_the_scope_only(api, subscriber, staff):
    services = [api.as_service(ApiKeyFactory(scopes=[scope])) for scope in ("read", "refunds", "usage")]
    callers = [api, api.as_user(subscriber), api.as_user(staff), *services]

    found = [post(caller, {"events": [event(subscriber)]}).status_code for caller in callers]

    assert found == [401, 403, 403, 403, 403, 200]
    assert written() == (1, 1, 5)


def test_it_is_in_the_schema(api):
    from drf_spectacular.generators import SchemaGenerator

    operation = SchemaGenerator().get_schema(request=None, public=True)["paths"]["/api/v1/usage/batch"]["post"]
    assert operation["responses"].keys() >= {"200", "400", "401", "403", "413", "429"}
