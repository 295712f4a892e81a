"""One request happens once, however often it is sent."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection

from payflow.core import clock, idempotency
from payflow.core.models import IdempotencyKey
from tests.api.urls import Calls
from tests.factories import UserFactory

pytestmark = pytest.mark.urls("tests.api.urls")

ECHO = "/api/v1/echo/"


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(Calls, "ids", [])


def post(client, body, key="k1", path=ECHO):
    return client.post(path, body, headers={"Idempotency-Key": key})


def test_the_same_request_is_answered_from_the_store_to_the_digit(api, user):
    client = api.as_user(user)
    first = post(client, {"n": 1, "price": 6.9})
    again = post(client, {"n": 1, "price": 6.9}, path=ECHO.rstrip("/"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    assert again["Content-Type"] == "application/json"
    assert b'"price":6.90' in again.content
    assert again.content == first.content.replace(b"s3cret", b"[redacted]")
    assert len(Calls.ids) == 1


def test_secrets_are_stored_blanked(api, user):
    post(api.as_user(user), {})
    [row] = IdempotencyKey.objects.all()
    assert row.status == "done"
    assert "s3cret" not in row.response_body
    assert row.expires_at - row.claimed_at == timedelta(days=7)
    assert [row.pk] == Calls.ids


@pytest.mark.parametrize(("body", "path"), [({"n": 2}, ECHO), ({"n": 1}, f"{ECHO}?x=1"), ({"n": 1}, f"{ECHO}twin")])
def test_another_request_under_the_key_is_a_mismatch(api, user, body, path):
    client = api.as_user(user)
    post(client, {"n": 1})
    response = post(client, body, path=path)
    assert response.status_code == 422
    assert response.json()["code"] == "IDEMPOTENCY_MISMATCH"
    assert len(Calls.ids) == 1


def test_keys_belong_to_their_principal(api, user, other_user, service_key):
    for client in (api.as_user(user), api.as_user(other_user), api.as_service(service_key)):
        assert post(client, {"n": 1}).status_code == 201
    assert len(set(Calls.ids)) == 3


def test_without_a_key_every_request_counts(api, user):
    client = api.as_user(user)
    assert client.post(ECHO, {}).status_code == client.post(ECHO, {}).status_code == 201
    assert Calls.ids == [None, None]


def test_a_second_request_in_flight_is_told_when_to_come_back(api, user, monkeypatch):
    client, second = api.as_user(user), []
    monkeypatch.setattr(Calls, "during", lambda: second.append(post(api.as_user(user), {"n": 1})))
    assert post(client, {"n": 1}).status_code == 201
    assert second[0].status_code == 409
    assert second[0].json()["code"] == "IDEMPOTENCY_IN_PROGRESS"
    assert 55 <= int(second[0]["Retry-After"]) <= 60
    assert len(Calls.ids) == 1


@pytest.mark.parametrize("body", [{"raise": "invalid"}])
def test_validation_failures_are_not_stored(api, user, body):
    client = api.as_user(user)
    assert post(client, body).status_code == 400
    assert not IdempotencyKey.objects.exists()
    assert post(client, {"n": 1}).status_code == 201


def test_malformed_json_is_not_stored(api, user):
    client = api.as_user(user)
    response = client.post(ECHO, b"{", content_type="application/json", headers={"Idempotency-Key": "k1"})
    assert response.status_code == 400
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("wish", ["unavailable", "integrity"])
def test_after_a_5xx_the_same_request_tries_again_at_once_with_the_same_id(api, user, wish):
    client = api.as_user(user)
    client.raise_request_exception = False
    assert post(client, {"raise": wish}).status_code >= 500
    assert post(client, {"raise": wish}).status_code >= 500
    assert post(client, {"n": 1}).status_code == 422
    assert len(Calls.ids) == 2
    assert len(set(Calls.ids)) == 1


def test_a_refusal_by_the_domain_is_stored(api, user):
    client = api.as_user(user)
    first, again = (post(client, {"raise": "domain"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (409, 409)
    assert again.content == first.content
    assert len(Calls.ids) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é", "   "])
def test_a_key_is_1_to_255_printable_characters(api, user, key):
    response = post(api.as_user(user), {}, key=key)
    assert response.status_code == 400
    assert list(response.json()["details"]) == ["Idempotency-Key"]
    assert Calls.ids == []


def test_a_key_is_forgotten_after_seven_days(user):
    wall, later = clock.wall(), clock.wall() + timedelta(days=7, seconds=1)
    claim = claim_one(wall)
    idempotency.key_finish(claim=claim, status=201, body="{}")
    assert idempotency.key_claim(
        principal="user:1", key="k", request_hash="h", wall=wall + timedelta(days=6)
    ) == idempotency.StoredAnswer(201, "{}")
    assert claim_one(later, request_hash="other") == idempotency.Claim(claim.id, later)
    assert idempotency.keys_expire(now=later, wall=later) == 0
    much_later = later + timedelta(days=7)
    assert idempotency.keys_expire(now=much_later, wall=much_later) == 1


def claim_one(wall, request_hash="h"):
    return idempotency.key_claim(principal="user:1", key="k", request_hash=request_hash, wall=wall)


def test_who_was_taken_over_from_does_not_overwrite_the_answer(db):
    wall = clock.wall()
    slow = claim_one(wall)
    taker = claim_one(wall + timedelta(seconds=60))
    idempotency.key_finish(claim=slow, status=500, body="slow")
    idempotency.key_forget(claim=slow)
    idempotency.key_finish(claim=taker, status=201, body="taker")
    idempotency.key_finish(claim=slow, status=500, body="slow")
    assert claim_one(wall + timedelta(seconds=61)) == idempotency.StoredAnswer(201, "taker")


def test_of_two_who_saw_the_same_dead_claim_the_second_to_write_is_refused(db):
    wall = clock.wall()
    claim_one(wall)
    later, competitor = wall + timedelta(seconds=61), []

    def inject(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.startswith("SELECT") and not competitor:
            competitor.append(None)
            competitor[0] = claim_one(later)  # takes over between our look and our write
        return result

    with connection.execute_wrapper(inject), pytest.raises(idempotency.IdempotencyInProgress):
        claim_one(later + timedelta(seconds=1))
    assert competitor == [idempotency.Claim(competitor[0].id, later)]


def race(contenders, wall):
    """What `contenders` threads get that claim one key at the same moment."""
    barrier, results = threading.Barrier(contenders), []

    def contend(number):
        barrier.wait()
        try:
            results.append(claim_one(wall + timedelta(microseconds=number)))
        except idempotency.IdempotencyInProgress as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(contenders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_of_eight_at_once_one_claims_and_one_takes_over():
    wall = clock.wall()
    first = race(8, wall)
    assert [type(result) for result in first].count(idempotency.Claim) == 1
    assert [type(result) for result in first].count(idempotency.IdempotencyInProgress) == 7
    second = race(8, wall + timedelta(seconds=61))
    assert [type(result) for result in second].count(idempotency.Claim) == 1
    assert [type(result) for result in second].count(idempotency.IdempotencyInProgress) == 7


@pytest.mark.django_db(transaction=True)
def test_the_claim_is_committed_before_the_handler_runs(api, monkeypatch):
    seen = []

    def look():
        def other_connection():
            seen.extend(IdempotencyKey.objects.values_list("status", flat=True))
            connection.close()

        thread = threading.Thread(target=other_connection)
        thread.start()
        thread.join()

    monkeypatch.setattr(Calls, "during", look)
    assert post(api.as_user(UserFactory()), {}).status_code == 201
    assert seen == ["in_flight"]
