"""What is kept of how a user stands: the same person's next use is one statement, and never counted by what was true before."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from payflow.core import clock
from plans.models import Plan
from plans.services import plan_update
from subscriptions.models import Subscription
from tests.factories import ApiKeyFactory, PlanFactory
from tests.usage.factories import plan, subscribed, subscription
from usage import limits, standing
from usage.limits import Grant
from usage.models import UsageLog
from usage.services import usage_log, usage_log_known
from usage.standing import COUNTERS_KEPT, Rules, standing_find, standing_read

pytestmark = pytest.mark.django_db(transaction=True)
LOG = "/api/v1/usage/log"


@pytest.fixture(autouse=True)
def real_time(settings):
    settings.PAYFLOW_TIME_TRAVEL = False


@pytest.fixture
def subscriber(user):
    subscribed(user, now=clock.now(), features={"books_per_month": 9})
    return user


@pytest.fixture
def client(api, subscriber):
    """Of somebody who has used something, and is known here."""
    client = api.as_user(subscriber)
    assert use(client)[0] == 201
    return client


def use(client, **body):
    """The status, the code of a refusal or what remains, and how many queries it took."""
    with CaptureQueriesContext(connection) as queries:
        answer = client.post(LOG, {"action": "books", **body})
    data = answer.json()
    return answer.status_code, data["code"] or data["data"]["remaining"], len(queries)


def mine(subscriber) -> Subscription:
    return Subscription.objects.get(user=subscriber)


def test_the_next_use_is_one_statement(client):
    assert use(client) == (201, 7, 1)
    assert use(client, quantity=7, event_id="all") == (201, 0, 1)
    assert use(client)[:2] == (429, "USAGE_LIMIT_EXCEEDED")
    assert use(client, quantity=7, event_id="all")[:2] == (201, 0), "an event that is known gets its answer"
    assert use(client, quantity=6, event_id="all")[:2] == (422, "IDEMPOTENCY_MISMATCH")
    assert sum(UsageLog.objects.values_list("quantity", flat=True)) == 9


def test_a_service_does_not_read_the_access_again(api, subscriber):
    service = api.as_service(ApiKeyFactory(scopes=["usage"]))
    assert use(service, user_id=str(subscriber.pk))[:2] == (201, 8)
    assert use(service, user_id=str(subscriber.pk)) == (201, 7, 2), "its key, and the statement"


def test_a_closed_account_is_refused_at_once(client, subscriber):
    type(subscriber).objects.filter(pk=subscriber.pk).update(is_active=False)
    assert use(client)[0] == 401
    assert use(client)[0] == 401, "the mark of a closed account lets nobody in"
    assert UsageLog.objects.count() == 1


def test_a_new_password_ends_the_old_token(api, client, subscriber):
    subscriber.set_password("another-long-password")
    subscriber.save()
    assert use(client)[0] == 401
    newcomer = api.as_user(subscriber)
    assert use(newcomer)[:2] == (201, 7)
    assert use(newcomer) == (201, 6, 1)
    assert use(client)[0] == 401, "what was found for the new token is not the old one's"


def test_a_subscription_that_has_ended_is_refused_at_once(client, subscriber):
    assert client.delete(f"/api/v1/subscriptions/{mine(subscriber).pk}?when=now").status_code == 200
    assert use(client)[:2] == (403, "NOT_ENTITLED")


def test_whatever_wrote_the_row_is_seen(client, subscriber):
    """An UPDATE of somebody who knows nothing of this."""
    Subscription.objects.filter(user=subscriber).update(status="suspended")
    assert use(client)[:2] == (403, "NOT_ENTITLED")
    Subscription.objects.filter(user=subscriber).update(status="active")
    assert use(client)[:2] == (201, 7)


def test_a_plan_that_has_changed_limits_at_once(client, subscriber):
    change = {"plan_id": mine(subscriber).plan_id, "actor": "system", "at": clock.now(), "confirm": True}
    plan_update(**change, features={"books_per_month": 3})
    assert use(client)[:2] == (201, 1)
    plan_update(**change, features={"books_per_month": 3, "books": False})
    assert use(client)[:2] == (403, "NOT_ENTITLED")
    plan_update(**change, features={})
    assert use(client)[:2] == (201, None)


def test_another_plan_limits_at_once(client, subscriber):
    Subscription.objects.filter(user=subscriber).update(plan=plan(features={"books_per_month": 2}))
    assert use(client)[:2] == (201, 0)
    assert use(client)[:2] == (429, "USAGE_LIMIT_EXCEEDED")


def test_a_second_subscription_counts_at_once(client, subscriber):
    subscription(subscriber, plan(features={"books_per_month": 100}, family="more"), now=clock.now())
    assert use(client)[:2] == (201, 98)


def test_the_plan_of_everybody_is_seen_to_change(api, user, settings):
    everybodys = PlanFactory(price=0, features={"books_per_month": 9})
    settings.PAYFLOW_DEFAULT_PLAN = everybodys.code
    client = api.as_user(user)
    assert use(client)[:2] == (201, 8)
    assert use(client) == (201, 7, 1)
    plan_update(plan_id=everybodys.pk, actor="system", at=clock.now(), confirm=True, features={"books_per_month": 4})
    assert use(client)[:2] == (201, 1)
    Plan.objects.filter(pk=everybodys.pk).update(is_active=False)
    assert use(client)[:2] == (403, "NOT_ENTITLED")


def test_an_action_that_is_priced_now_is_counted_on_its_meter(client, subscriber):
    """Known as free of charge a moment ago."""
    Subscription.objects.filter(user=subscriber).update(had_priced_actions=True)
    _, remaining, queries = use(client)
    assert (remaining, queries > 1) == (7, True)


def test_time_alone_ends_access(user):
    now = clock.now()
    subscribed(user, now=now, features={"books_per_month": 9})
    usage_log(user_id=user.pk, action="books", now=now)
    kept = standing_find(user.pk, now)
    assert kept is not None
    [until] = [member.until for member in kept.members]
    assert until is not None
    assert standing_find(user.pk, until - timedelta(seconds=1)) is kept
    assert standing_find(user.pk, until) is None
    assert standing_find(user.pk, now - timedelta(seconds=1)) is None, "of what was before it says nothing"


def test_who_has_no_access_is_not_kept(user):
    standing_read(user.pk, clock.now())
    assert standing_find(user.pk, clock.now()) is None


def test_what_is_not_committed_is_not_kept(subscriber):
    """It could be written once more under the same mark."""
    now = clock.now()
    with transaction.atomic():
        Subscription.objects.filter(user=subscriber).update(family="other")
        assert [member.family for member in standing_read(subscriber.pk, now).members] == ["other"]
        Subscription.objects.filter(user=subscriber).update(family="main")
    assert standing_find(subscriber.pk, now) is None


def test_a_change_that_commits_while_access_is_read_leaves_a_mark_that_does_not_hold(subscriber):
    """The mark is older than what was read: the next use reads again."""
    now = clock.now()
    change = {"plan_id": mine(subscriber).plan_id, "actor": "system", "at": now, "features": {"books_per_month": 10}}

    def elsewhere() -> None:
        try:
            plan_update(**change)
        finally:
            connections.close_all()

    def meanwhile(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if "usage_standing" in sql and "SELECT is_active" in sql:
            other = threading.Thread(target=elsewhere)
            other.start()
            other.join()
        return result

    with connection.execute_wrapper(meanwhile):
        found = standing_read(subscriber.pk, now)
    assert found.rules.grants[0].features == {"books_per_month": 10}
    proof = found.proof
    assert usage_log_known(user_id=subscriber.pk, proof=proof, action="books", now=now) is None
    usage_log(user_id=subscriber.pk, action="books", now=now)
    assert UsageLog.objects.count() == 1


def test_who_is_entitled_to_the_same_shares_the_rules(subscriber, other_user, settings):
    now = clock.now()
    subscription(other_user, mine(subscriber).plan, now=now)
    first, second = standing_read(subscriber.pk, now), standing_read(other_user.pk, now)

    assert first.rules is second.rules
    assert first.rules.counters("books", now) is second.rules.counters("books", now) is not None


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_what_an_action_raises_is_that_of_the_very_minute(zone):
    """Half-hour and quarter-hour zones too: at local midnight to the second."""
    midnight = datetime(2026, 11, 24, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    grants = [Grant("main", zone, {"books_per_day": 3}, None, None)]
    rules = Rules(grants)
    moments = [midnight + timedelta(seconds=seconds) for seconds in (-61, -60, -59, -0.000001, 0, 0.000001, 59, 60, 61)]
    for moment in moments:
        assert rules.counters("books", moment).slots == limits.counted(grants, "books", moment), moment


def test_actions_that_clients_invent_take_no_room():
    now, rules = clock.now(), Rules([Grant("main", "UTC", {"books": 3, "films": False}, None, None)])
    for number in range(COUNTERS_KEPT + 10):
        assert rules.counters(f"books{number}", now).slots[0].action == f"books{number}"
        assert rules.counters("films", now) is None
    assert standing._counters.cache_info().currsize == COUNTERS_KEPT


def test_a_switch_is_no_number(subscriber, other_user):
    now = clock.now()
    Plan.objects.filter(pk=mine(subscriber).plan_id).update(features={"books": True})
    subscribed(other_user, now=now, features={"books": 1})
    first, second = standing_read(subscriber.pk, now), standing_read(other_user.pk, now)
    assert [slot.max for slot in first.rules.counters("books", now).slots if slot.name == "books"] == []
    assert [slot.max for slot in second.rules.counters("books", now).slots if slot.name == "books"] == [1]


def test_only_so_many_are_kept(subscriber, other_user, monkeypatch):
    monkeypatch.setattr(standing, "KEPT", 1)
    now = clock.now()
    subscribed(other_user, now=now)
    standing_read(subscriber.pk, now)
    assert standing_find(subscriber.pk, now) is not None
    for _ in range(len(standing._kept)):
        standing_read(other_user.pk, now)
    assert standing_find(subscriber.pk, now) is None
    assert standing_find(other_user.pk, now) is not None
