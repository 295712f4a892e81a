"""Sixty-four callers in two processes, each with its own connection, want the last ten units."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from django.db import transaction

from payflow.core.models import OutboxEvent
from tests.factories import UserFactory
from tests.races import Race
from tests.usage.factories import NOON, plan, subscription
from tests.usage.metered import metered_plan
from tests.usage.race import callers
from tests.usage.support import counters
from usage.billing import Mark, meter_line, usage_mark
from usage.models import UsageEvent, UsageLog, UsageMeter
from usage.services import usage_log

pytestmark = pytest.mark.django_db(transaction=True)
CALLERS = 64
LEFT = 10


@pytest.fixture(scope="module")
def race(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), callers() as started:
        yield started


def calls(user, *, count=CALLERS, **fields):
    return [{"user_id": user.pk, "action": "books", "now": NOON, **fields} for _ in range(count)]


@pytest.mark.parametrize(
    "limits",
    [
        {"features": {"books_per_day": LEFT}},
        {"features": {"books": LEFT}},
        {"max_usage_per_month": LEFT},
        {"features": {"books_per_day": LEFT}, "max_usage_per_day": LEFT, "max_usage_per_month": LEFT},
    ],
    ids=["feature a day", "feature for ever", "plan", "both"],
)
@pytest.mark.parametrize("used", [0, 20], ids=["first rows", "rows there"])
def test_exactly_ten_win(race, limits, used):
    user = UserFactory()
    row = subscription(user, plan())
    if used:
        usage_log(user_id=user.pk, action="books", quantity=used, event_id="before", now=NOON)
    row.plan = plan(**_raised(limits, used))
    row.save()

    outcomes = race([{**call, "event_id": f"e-{n}"} for n, call in enumerate(calls(user))])

    assert outcomes.pop("UsageLimitExceeded") == CALLERS - LEFT
    assert len(outcomes) == LEFT
    assert set(outcomes.values()) == {1}
    logged = {str(entry.pk): entry.event_id for entry in UsageLog.objects.exclude(event_id="before")}
    assert logged.keys() == outcomes.keys()
    events = UsageEvent.objects.exclude(event_id="before").values_list("event_id", "answer")
    assert {answer["id"]: event_id for event_id, answer in events} == logged
    assert counters() == {
        ("books", "day", "2026-03-15"): used + LEFT,
        ("books", "month", "2026-03-01"): used + LEFT,
        ("books", "all", "1970-01-01"): used + LEFT,
        ("*", "day", "2026-03-15"): used + LEFT,
        ("*", "month", "2026-03-01"): used + LEFT,
    }


def test_callers_of_different_actions_share_the_total_and_never_wait_in_a_circle(race):
    user = UserFactory()
    subscription(user, plan(max_usage_per_day=LEFT))

    outcomes = race([{**call, "action": f"action-{n % 7}"} for n, call in enumerate(calls(user))])

    assert outcomes["UsageLimitExceeded"] == CALLERS - LEFT
    assert UsageLog.objects.count() == LEFT
    found = counters()
    assert found["*", "day", "2026-03-15"] == found["*", "month", "2026-03-01"] == LEFT
    assert sum(used for (_, window, _), used in found.items() if window == "day") == 2 * LEFT


@pytest.mark.parametrize("limit", [100, 1], ids=["room for all", "room for one"])
def test_the_same_event_many_times_at_once_counts_once(race, limit):
    user, others = UserFactory(), UserFactory()
    subscription(user, plan(features={"books_per_day": limit}))
    subscription(others, plan())

    outcomes = race(calls(user, count=12, event_id="e-1") + calls(others, count=CALLERS - 12))

    (entry,) = UsageLog.objects.filter(user=user)
    assert outcomes[str(entry.pk)] == 12, "one counts, all get the same answer"
    assert len(outcomes) == 1 + CALLERS - 12
    assert UsageEvent.objects.get().answer["id"] == str(entry.pk)
    assert set(counters(user=user).values()) == {1}


def test_two_contents_under_one_event_at_once(race):
    user = UserFactory()
    subscription(user, plan())

    outcomes = race([{**call, "event_id": "e-1", "quantity": 1 + n % 2} for n, call in enumerate(calls(user))])

    entry = UsageLog.objects.get()
    assert outcomes == {str(entry.pk): CALLERS // 2, "EventMismatch": CALLERS // 2}
    assert set(counters().values()) == {entry.quantity}


def test_batches_and_single_uses_of_the_same_events_count_each_once_and_never_wait_in_a_circle(race):
    users = [UserFactory() for _ in range(3)]
    for user in users:
        subscription(user, plan(features={"books_per_day": 1000}))
    keys = [(user, number) for user in users for number in range(20)]
    events = [{"user_id": str(user.pk), "action": "books", "event_id": f"e-{number}"} for user, number in keys]
    # Each batch in an order of its own; beside them callers that log some of the very same events one by one.
    batches = [{"events": events[n:] + events[:n], "now": NOON} for n in range(32)]
    singles = [
        {"user_id": user.pk, "action": "books", "event_id": f"e-{number}", "now": NOON} for user, number in keys[:32]
    ]

    outcomes = race(batches + singles)

    batched = sum(accepted * times for accepted, times in outcomes.items() if isinstance(accepted, int))
    logged = {str(key) for key in UsageLog.objects.values_list("pk", flat=True)}
    assert not {name for name in outcomes if isinstance(name, str)} - logged
    assert (len(logged), UsageEvent.objects.count()) == (60, 60)
    assert batched >= 60 - 32
    for user in users:
        assert set(counters(user=user).values()) == {20}


def test_batches_and_single_uses_of_priced_actions_raise_each_meter_once_for_each_event(race):
    """Two actions, in two cycles of one subscription: four meters, which every batch wants in an order of its own."""
    user, last_month = UserFactory(), NOON - timedelta(days=30)
    priced = metered_plan({}, {"action": "pages"}, at=NOON - timedelta(days=90))
    begun = {"created_at": NOON - timedelta(days=60), "anchor": NOON - timedelta(days=60)}
    subscription(user, priced, **begun)
    keys = [(number, action) for number in range(24) for action in ("words", "pages")]
    events = [
        {"user_id": str(user.pk), "action": action, "event_id": f"{action}-{number}", "quantity": 2}
        | ({"occurred_at": last_month.isoformat()} if number % 3 == 0 else {})
        for number, action in keys
    ]
    batches = [{"events": events[n:] + events[:n], "now": NOON} for n in range(32)]
    singles = [
        {"user_id": user.pk, "action": action, "event_id": f"{action}-{number}", "quantity": 2, "now": NOON}
        for number, action in keys[:32]
    ]

    outcomes = race(batches + singles)

    logged = UsageLog.objects.all()
    assert not {name for name in outcomes if isinstance(name, str)} - {str(row.pk) for row in logged}
    assert len(logged) == UsageEvent.objects.count() == 48
    late = Counter(row.action for row in logged if row.occurred_at == last_month)
    for action in ("words", "pages"):
        meters = UsageMeter.objects.filter(price__action=action).order_by("period_start")
        expected = [count for count in (2 * late[action], 48 - 2 * late[action]) if count]
        assert [meter.used for meter in meters if meter.used] == expected


def test_who_bills_locks_meters_in_the_order_in_which_a_batch_raises_them():
    user, begun = UserFactory(), NOON - timedelta(days=60)
    subscription(user, metered_plan({}, at=begun), created_at=begun, anchor=begun)
    for moment in (NOON, NOON - timedelta(days=30)):
        usage_log(user_id=user.pk, action="words", occurred_at=moment, now=NOON)
    first, second = UsageMeter.objects.select_related("price__plan").order_by("period_start")
    lines = [meter_line(meter) for meter in (second, first)]
    race = Race()

    with transaction.atomic():
        UsageMeter.objects.select_for_update(no_key=True).get(pk=first.pk)
        race.start(usage_mark, [Mark(line.explanation, line.amount.amount) for line in lines])
        race.everybody_waits()
        # As a batch does, whose next meter this is.
        UsageMeter.objects.select_for_update(no_key=True, nowait=True).get(pk=second.pk)

    assert race.finish() == {"NoneType": 1}
    assert list(UsageMeter.objects.values_list("billed", flat=True)) == [1, 1]


def test_a_threshold_is_told_once_however_many_race(race):
    user = UserFactory()
    subscription(user, plan(features={"books_per_day": 40}))
    batch = [{"user_id": str(user.pk), "action": "books", "event_id": f"b-{n}"} for n in range(3)]

    outcomes = race(calls(user, count=CALLERS - 4) + [{"events": batch, "now": NOON}] * 4)

    assert sum(outcomes.values()) == CALLERS
    assert counters()["books", "day", "2026-03-15"] in (40, 41, 42)  # the batch counts what has happened
    events = OutboxEvent.objects.filter(type="usage.threshold_reached").values_list("payload", flat=True)
    assert sorted(payload["threshold"] for payload in events) == [80, 100]


def _raised(limits, used):
    features = {key: value + used for key, value in limits.get("features", {}).items()}
    return {"features": features, **{key: value + used for key, value in limits.items() if key != "features"}}
