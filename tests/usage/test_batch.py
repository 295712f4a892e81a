"""Batches: each event once, into its own window, beyond limits too; a bad one stops no other."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection

from payflow.core.errors import PayloadTooLarge
from tests.usage.factories import NOON, plan, subscribed, subscription
from tests.usage.support import counters, written
from usage.batch.service import MAX_EVENTS, usage_batch
from usage.errors import EventMismatch, UsageLimitExceeded
from usage.models import UsageEvent, UsageLog
from usage.services import usage_log

NOTHING = (0, 0, 0)


def event(user, number=1, **fields):
    return {"user_id": str(user.pk), "action": "books", "event_id": f"e-{number}", **fields}


def send(*events, now=NOON):
    return usage_batch(events=events, now=now)


def told(batch):
    return [(verdict.position, verdict.verdict, verdict.code, verdict.details) for verdict in batch.verdicts]


def test_events_of_many_users_are_counted_and_logged(user, other_user):
    first = subscribed(user)
    subscribed(other_user)
    metadata = {"b": 1, "a": ["tab\t, line\n, back\\slash", "ü"]}

    batch = send(
        event(user, quantity=3, content_id="a\tb\\N\n", metadata=metadata),
        event(user, 2, action="words"),
        event(other_user, "\\1\t"),
    )

    assert (batch.accepted, batch.verdicts) == (3, [])
    assert counters(user=user) == {
        ("books", "day", "2026-03-15"): 3,
        ("books", "month", "2026-03-01"): 3,
        ("books", "all", "1970-01-01"): 3,
        ("words", "day", "2026-03-15"): 1,
        ("words", "month", "2026-03-01"): 1,
        ("words", "all", "1970-01-01"): 1,
        ("*", "day", "2026-03-15"): 4,
        ("*", "month", "2026-03-01"): 4,
    }
    entry = UsageLog.objects.get(user=user, action="books")
    assert (entry.quantity, entry.content_id, entry.metadata) == (3, "a\tb\\N\n", metadata)
    assert (entry.subscription_id, entry.occurred_at, entry.created_at) == (first.pk, NOON, NOON)
    assert UsageLog.objects.get(user=other_user).event_id == "e-\\1\t"
    assert UsageEvent.objects.get(event_id="e-1").answer["id"] == str(entry.pk)


def test_counters_are_raised_in_their_page(user):
    """A version that fits beside the one before makes no entry in the key's index, the dearest part of raising it."""
    subscribed(user)
    send(*(event(user, number, action=f"act-{number}") for number in range(400)))
    raised = "SELECT pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid)"
    with connection.cursor() as cursor:
        cursor.execute(f"{raised} FROM pg_class WHERE relname = 'usage_counters'")
        before = cursor.fetchone()
        send(*(event(user, 400 + number, action=f"act-{number}") for number in range(0, 400, 5)))
        cursor.execute(f"{raised} FROM pg_class WHERE relname = 'usage_counters'")
        updated, in_page = (after - earlier for after, earlier in zip(cursor.fetchone(), before, strict=True))
    assert updated == 80 * 3 + 2
    assert in_page >= 0.95 * updated


def test_again_it_counts_nothing(user):
    subscribed(user)
    events = [event(user, number, quantity=number) for number in (1, 2, 3)]
    send(*events[:2])
    before = counters()

    batch = send(*events, events[2])

    assert batch.accepted == 1
    assert told(batch) == [(position, "duplicate", None, None) for position in (0, 1, 3)]
    assert set(before.values()) == {3}
    assert set(counters().values()) == {6}
    assert (UsageLog.objects.count(), UsageEvent.objects.count()) == (3, 3)


def test_a_single_use_and_a_batch_know_each_others_events(user):
    row = subscribed(user, features={"books_per_day": 10})
    logged = usage_log(user_id=user.pk, action="books", quantity=2, event_id="e-1", metadata={"a": 1.5}, now=NOON)
    batch = send(event(user, quantity=2, metadata={"a": 1.5}), event(user, 2))

    assert told(batch) == [(0, "duplicate", None, None)]
    replayed = usage_log(user_id=user.pk, action="books", event_id="e-2", now=NOON + timedelta(minutes=1))
    assert (replayed.replayed, replayed.remaining, replayed.occurred_at) == (True, 7, NOON)
    assert replayed.id == UsageLog.objects.exclude(pk=logged.id).get().pk
    with pytest.raises(EventMismatch):
        usage_log(user_id=user.pk, action="books", quantity=9, event_id="e-2", now=NOON)
    row.end_date, row.auto_renew, row.next_action_at = NOON, False, NOON
    row.save()
    late = usage_log(user_id=user.pk, action="books", event_id="e-2", now=NOON)
    assert (late.id, late.limits, late.remaining) == (replayed.id, [], None)
    assert told(send(event(user, 2), event(user, 3))) == [
        (0, "duplicate", None, None),
        (1, "refused", "NOT_ENTITLED", {"reason": "no_access"}),
    ]
    assert written() == (2, 2, 15)


def test_another_content_under_a_known_event_is_refused(user):
    subscribed(user)
    send(event(user))

    batch = send(event(user, quantity=2), event(user, 2), event(user, 2, content_id="x"), event(user, occurred_at=None))

    mismatch = {"event_id": ["This event_id was used for another request"]}
    assert [(one[0], one[1], one[2]) for one in told(batch)] == [
        (0, "refused", "IDEMPOTENCY_MISMATCH"),
        (2, "refused", "IDEMPOTENCY_MISMATCH"),
        (3, "refused", "IDEMPOTENCY_MISMATCH"),
    ]
    assert batch.verdicts[0].details == mismatch
    assert written() == (2, 2, 10)


def test_each_bad_event_gets_its_verdict_and_the_rest_counts(user, other_user):
    subscribed(user, features={"exports": False})
    stranger = str(uuid.uuid4())

    batch = send(
        event(user, quantity=0, action="*", extra=1),
        "text",
        {"user_id": 7, "action": "books", "occurred_at": "2026-03-15"},
        event(user, 4) | {"user_id": stranger},
        event(other_user, 5),
        event(user, 6, action="exports"),
        event(user, 7, metadata={"a": "x" * 9000}),
        event(user, 8, occurred_at=(NOON + timedelta(minutes=6)).isoformat()),
        event(user, 9, occurred_at=(NOON - timedelta(days=35, seconds=1)).isoformat()),
        event(user, 10, occurred_at="0001-01-01T00:00:00+14:00"),
        event(user, 11),
        event(user, 6, action="exports"),
    )

    assert batch.accepted == 1
    assert [(one.position, one.event_id, one.verdict, one.code) for one in batch.verdicts] == [
        (0, "e-1", "refused", "VALIDATION_ERROR"),
        (1, None, "refused", "VALIDATION_ERROR"),
        (2, None, "refused", "VALIDATION_ERROR"),
        (3, "e-4", "refused", "VALIDATION_ERROR"),
        (4, "e-5", "refused", "NOT_ENTITLED"),
        (5, "e-6", "refused", "NOT_ENTITLED"),
        (6, "e-7", "refused", "VALIDATION_ERROR"),
        (7, "e-8", "refused", "VALIDATION_ERROR"),
        (8, "e-9", "refused", "VALIDATION_ERROR"),
        (9, "e-10", "refused", "VALIDATION_ERROR"),
        (11, "e-6", "refused", "NOT_ENTITLED"),
    ]
    faults = {one.position: one.details for one in batch.verdicts}
    assert sorted(faults[0]) == ["action", "extra", "quantity"]
    assert sorted(faults[2]) == ["event_id", "occurred_at", "user_id"]
    assert faults[3] == {"user_id": ["There is no such user"]}
    assert faults[4] == {"reason": "no_access"}
    assert faults[5] == {"reason": "switched_off", "action": "exports"}
    assert [list(faults[position]) for position in (6, 7, 8, 9)] == [["metadata"]] + [["occurred_at"]] * 3
    assert written() == (1, 1, 5)


def test_a_late_event_counts_in_its_own_window_by_the_subscribers_calendar(user, other_user):
    subscribed(user, timezone="Asia/Tokyo")
    subscribed(other_user, timezone="America/New_York")
    moment = "2026-02-28T15:30:00Z"  # 1 March in Tokyo, 28 February in New York

    send(event(user, occurred_at=moment), event(other_user, occurred_at="2026-02-28T16:30:00+01:00"), event(user, 2))

    assert counters(user=user, action="books") == {
        ("books", "day", "2026-03-01"): 1,
        ("books", "day", "2026-03-15"): 1,
        ("books", "month", "2026-03-01"): 2,
        ("books", "all", "1970-01-01"): 2,
    }
    assert counters(user=other_user, action="*") == {
        ("*", "day", "2026-02-28"): 1,
        ("*", "month", "2026-02-01"): 1,
    }
    late = UsageLog.objects.get(user=other_user)
    assert (late.occurred_at.isoformat(), late.created_at) == ("2026-02-28T15:30:00+00:00", NOON)


def test_what_happened_counts_beyond_the_limit_and_the_next_use_is_refused(user):
    subscribed(user, features={"books_per_day": 5}, max_usage_per_month=6)
    usage_log(user_id=user.pk, action="books", quantity=3, now=NOON)

    batch = send(event(user, 1), event(user, 2), event(user, 3), event(user, 4), event(user, 5, action="words"))

    assert batch.accepted == 5
    assert told(batch) == [
        (2, "over_limit", None, {"limits": ["books_per_day"]}),
        (3, "over_limit", None, {"limits": ["max_usage_per_month", "books_per_day"]}),
        (4, "over_limit", None, {"limits": ["max_usage_per_month"]}),
    ]
    assert counters(action="books")["books", "day", "2026-03-15"] == 7
    with pytest.raises(UsageLimitExceeded):
        usage_log(user_id=user.pk, action="books", now=NOON)


def test_two_families_and_the_plan_of_everybody(user, other_user, settings):
    subscription(user, plan(price=20, features={"books": 2}))
    extra = subscription(user, plan(price=5, family="extra", features={"images_per_day": 3}), timezone="Asia/Tokyo")
    plan(code="everybody", family="free")
    settings.PAYFLOW_DEFAULT_PLAN = "everybody"
    stranger = uuid.uuid4()

    batch = send(
        event(user, action="images", occurred_at="2026-03-14T16:00:00Z"),
        event(other_user),
        event(user, 2) | {"user_id": str(stranger)},
    )

    assert [(one.position, one.details) for one in batch.verdicts] == [(2, {"user_id": ["There is no such user"]})]
    assert UsageLog.objects.get(user=user).subscription_id == extra.pk
    assert counters(user=user, family="extra")["images", "day", "2026-03-15"] == 1
    assert counters(user=user, family="main") == {("*", "day", "2026-03-14"): 1, ("*", "month", "2026-03-01"): 1}
    assert len(counters(user=other_user, family="free")) == 5
    assert UsageLog.objects.get(user=other_user).subscription_id is None


def test_too_many_and_none_at_all(user):
    with pytest.raises(PayloadTooLarge):
        send(*[event(user)] * (MAX_EVENTS + 1))
    assert (send().accepted, written()) == (0, NOTHING)


def test_as_many_queries_for_many_as_for_one(user, other_user, django_assert_num_queries):
    subscribed(user, features={"books_per_day": 100})
    subscribed(other_user, features={"books_per_day": 100})
    send(event(user, "warm"))

    # Subscriptions, plans; what is known, counters, keys, COPY; a test's savepoint and its end.
    with django_assert_num_queries(8):
        send(event(user))
    days = [f"2026-03-{day}T12:00:00Z" for day in range(10, 15)]
    with django_assert_num_queries(8):
        send(*(event(each, day, occurred_at=day) for day in days for each in (user, other_user)))
