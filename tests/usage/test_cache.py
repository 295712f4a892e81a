"""The paywall's answers in Redis: told without a query, and never once something else is true."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django_redis import get_redis_connection
from rest_framework_simplejwt.tokens import AccessToken

from payflow.core import clock, redis
from payflow.core.redis import Done
from plans.services import plan_update
from tests.api.test_throttles import NOWHERE
from tests.factories import ApiKeyFactory, PlanFactory
from tests.usage.factories import plan, subscribed, subscription
from usage import cache
from usage.cache import HOLD_MS, answer_find, answer_keep, answer_lease, answers_drop, answers_drop_all, use_ended

pytestmark = pytest.mark.django_db(transaction=True)
HERE = "/api/v1/entitlements"
LOG = "/api/v1/usage/log"


@pytest.fixture(autouse=True)
def real_time(settings, running_redis):
    settings.PAYFLOW_TIME_TRAVEL = False
    settings.ENTITLEMENT_CACHE_SECONDS = 60


@pytest.fixture
def subscriber(user):
    subscribed(user, now=clock.wall(), features={"books_per_month": 9, "support": "mail"})
    return user


@pytest.fixture
def client(api, subscriber):
    return api.as_user(subscriber)


def ask(client, path=HERE):
    """The answer, and how many queries it took."""
    with CaptureQueriesContext(connection) as queries:
        response = client.get(path)
    assert response.status_code == 200, response.content
    return response.json()["data"], len(queries)


def used(answer):
    return next(limit["used"] for limit in answer["limits"] if limit["limit"] == "books_per_month")


def test_the_same_answer_again_takes_no_query(client):
    first, queries = ask(client)
    assert queries > 0
    assert ask(client) == (first, 0)
    assert first["entitled"] is True
    assert set(ask(client, f"{HERE}?fields=entitled")[0]) == {"entitled"}


def test_what_is_used_is_told_at_once(client):
    before, _ = ask(client)
    assert client.post(LOG, {"action": "books", "quantity": 2}).status_code == 201

    after, queries = ask(client)

    assert (used(before), used(after)) == (0, 2)
    assert queries > 0
    # a refusal and a question take nothing
    assert client.post(LOG, {"action": "books", "quantity": 8}).status_code == 429
    assert client.post(LOG, {"action": "books", "dry_run": True}).status_code == 200
    assert ask(client)[0] == after


def while_it_is_counted(client, work):
    """A use, and what another request does after its user was let in and before anything is counted."""

    def elsewhere() -> None:
        try:
            work()
        finally:
            connections.close_all()

    def meanwhile(execute, sql, params, many, context):
        if "usage_take" in sql:
            other = threading.Thread(target=elsewhere)
            other.start()
            other.join()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        assert client.post(LOG, {"action": "books"}).status_code == 201


@pytest.mark.parametrize("what", ["it is held", "its hold is over", "Redis is emptied"])
def test_what_was_told_while_a_use_was_under_way_is_not_told_after_it(api, client, subscriber, monkeypatch, what):
    assert client.post(LOG, {"action": "books"}).status_code == 201
    store = get_redis_connection("default")
    if what == "its hold is over":
        monkeypatch.setattr(cache, "HOLD_BELIEVED_SECONDS", 0)

    def work() -> None:
        if what == "its hold is over":
            store.delete(cache._held(subscriber.pk))
        if what == "Redis is emptied":
            store.delete(*(store.keys("payflow:entitlements:*")))
        assert used(ask(api.as_user(subscriber))[0]) == 1

    while_it_is_counted(client, work)

    assert used(ask(client)[0]) == 2


def test_a_use_drops_when_it_is_let_in(client, subscriber):
    store = get_redis_connection("default")
    assert client.post(LOG, {"action": "books"}).status_code == 201
    store.delete(cache._held(subscriber.pk))
    assert used(ask(client)[0]) == 1
    assert ask(client)[1] == 0, "it is kept"

    assert client.post(LOG, {"action": "books"}).status_code == 201

    assert used(ask(client)[0]) == 2


def test_a_while_after_a_use_an_answer_is_kept_again(client, subscriber):
    store, held = get_redis_connection("default"), cache._held(subscriber.pk)
    for _ in range(2):
        assert client.post(LOG, {"action": "books"}).status_code == 201
    assert 0 < store.pttl(held) <= HOLD_MS
    store.set(held, "", px=60_000)  # however long this test takes
    assert ask(client)[1] == ask(client)[1] > 0
    store.delete(held)
    assert ask(client)[1] > 0
    assert ask(client)[1] == 0


def test_a_use_that_is_not_committed_yet_drops_at_its_commit(subscriber):
    with transaction.atomic():
        use_ended(subscriber.pk, Done([], time.monotonic()))
        answer_keep(answer_lease(subscriber.pk), b"before it", proof="", now=clock.now(), until=None)
        assert answer_find(subscriber.pk, proof=None) == b"before it"
    assert answer_find(subscriber.pk, proof=None) is None


def test_a_subscription_begins_and_ends_at_once(api, user):
    client = api.as_user(user)
    free = PlanFactory(price=0, features={"support": "mail"})
    assert ask(client)[0]["entitled"] is False
    assert ask(client)[1] == 0

    assert client.post("/api/v1/subscriptions/", {"plan_id": free.code}).status_code == 201
    assert ask(client)[0]["entitled"] is True
    assert ask(client)[1] == 0

    assert client.delete("/api/v1/subscriptions/me?when=now").status_code == 200
    assert ask(client)[0]["entitled"] is False


def test_a_change_of_the_plan_is_told_to_everybody_at_once(client, subscriber):
    assert ask(client)[0]["features"]["support"]["value"] == "mail"
    [mine] = subscriber.subscriptions.all()

    plan_update(
        plan_id=mine.plan_id, actor="system", at=clock.now(), features={"books_per_month": 9, "support": "phone"}
    )

    assert ask(client)[0]["features"]["support"]["value"] == "phone"


def test_a_closed_account_and_an_old_password_are_refused_at_once(api, subscriber):
    client = api.as_user(subscriber)
    ask(client)
    subscriber.is_active = False
    subscriber.save()
    assert client.get(HERE).status_code == 401
    subscriber.is_active = True
    subscriber.set_password("another-long-password")
    subscriber.save()
    assert client.get(HERE).status_code == 401
    assert ask(api.as_user(subscriber))[0]["entitled"] is True
    assert ask(api.as_user(subscriber))[1] == 0
    assert client.get(HERE).status_code == 401


def test_who_shows_no_token_of_the_user_is_told_nothing(api, client, subscriber, other_user):
    mine, _ = ask(client)
    assert api.get(HERE).status_code == 401
    token = str(AccessToken.for_user(subscriber))
    for wrong in (token[:-3] + "abc", token.partition(".")[0], "a.b.c"):
        assert api.get(HERE, headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
    assert ask(api.as_user(other_user))[0] != mine


def test_a_service_and_the_user_share_what_is_known(api, client, subscriber):
    service = api.as_service(ApiKeyFactory(scopes=["usage"]))
    path = f"{HERE}/user/{subscriber.pk}"
    told, queries = ask(service, path)
    again, fewer = ask(service, path)
    assert told == again
    assert fewer < queries
    # not the account's own question: nobody has looked at his proof yet
    assert ask(client)[1] > 0
    assert ask(client) == (told, 0)
    assert ask(service, path) == (told, fewer)


def test_an_answer_read_before_a_change_is_not_kept_after_it(subscriber):
    now = clock.now()
    for change in (lambda: answers_drop([subscriber.pk]), answers_drop_all):
        lease = answer_lease(subscriber.pk)
        change()
        answer_keep(lease, b"old", proof="p", now=now, until=None)
        assert answer_find(subscriber.pk, proof="p") is None
    lease = answer_lease(subscriber.pk)
    answer_keep(lease, b"new", proof="p", now=now, until=None)
    assert answer_find(subscriber.pk, proof="p") == b"new"


def test_the_lease_of_who_comes_later_wins(subscriber):
    first, second = answer_lease(subscriber.pk), answer_lease(subscriber.pk)
    answer_keep(first, b"first", proof="p", now=clock.now(), until=None)
    assert answer_find(subscriber.pk, proof="p") is None
    answer_keep(second, b"second", proof="p", now=clock.now(), until=None)
    assert answer_find(subscriber.pk, proof="p") == b"second"


def test_what_is_rolled_back_drops_nothing_and_a_commit_does(subscriber):
    lease = answer_lease(subscriber.pk)
    answer_keep(lease, b"kept", proof="", now=clock.now(), until=None)
    with transaction.atomic():
        answers_drop([subscriber.pk])
        transaction.set_rollback(True)
    assert answer_find(subscriber.pk, proof=None) == b"kept"
    with transaction.atomic():
        answers_drop([subscriber.pk])
        assert answer_find(subscriber.pk, proof=None) == b"kept"
    assert answer_find(subscriber.pk, proof=None) is None


def test_time_alone_ends_an_answer(api, user):
    now = clock.now()
    subscription(user, plan(), now=now, end_date=now + timedelta(seconds=1), auto_renew=False)
    client = api.as_user(user)
    assert ask(client)[0]["entitled"] is True
    time.sleep(max(0.0, (now + timedelta(seconds=1.05) - clock.now()).total_seconds()))
    assert ask(client)[0]["entitled"] is False


def test_without_redis_each_answer_is_computed(client, settings, monkeypatch):
    monkeypatch.setattr(redis._Outage, "until", 0.0)
    settings.CACHES = NOWHERE
    first, queries = ask(client)
    assert ask(client) == (first, queries)
    assert client.post(LOG, {"action": "books"}).status_code == 201
    assert used(ask(client)[0]) == 1


@pytest.mark.parametrize("off", [{"ENTITLEMENT_CACHE_SECONDS": 0}, {"PAYFLOW_TIME_TRAVEL": True}])
def test_switched_off_nothing_is_kept(client, settings, off):
    for name, value in off.items():
        setattr(settings, name, value)
    assert ask(client)[1] == ask(client)[1] > 0
