"""`usage.threshold_reached`: once per window, limit and threshold, in the transaction of the use."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection

from payflow.core import outbox
from payflow.core.models import OutboxEvent, OutboxHandling
from payflow.core.registry import OutboxHandler, register_outbox_handler, registered
from tests.usage.factories import NOON, plan, subscribed
from usage.alerts import THRESHOLD_REACHED
from usage.batch.service import usage_batch
from usage.errors import UsageLimitExceeded
from usage.services import usage_log


def log(user, quantity=1, *, now=NOON, **fields):
    return usage_log(user_id=user.pk, action="books", quantity=quantity, now=now, **fields)


def batch(user, *quantities, now=NOON):
    events = [
        {"user_id": str(user.pk), "action": "books", "quantity": quantity, "event_id": str(uuid.uuid4())}
        for quantity in quantities or (1,)
    ]
    return usage_batch(events=events, now=now)


def told():
    payloads = OutboxEvent.objects.values_list("payload", flat=True)
    return sorted((payload["limit"], payload["threshold"], payload["used"]) for payload in payloads)


@pytest.fixture(params=[log, batch], ids=["log", "batch"])
def use(request):
    return request.param


def test_each_threshold_is_told_when_it_is_passed_and_not_again(user, use):
    row = subscribed(user, features={"books_per_day": 10, "books_per_month": -1}, max_usage_per_month=100)

    use(user, 7)
    assert told() == []
    use(user)
    use(user)
    assert told() == [("books_per_day", 80, 8)]
    use(user)
    assert told() == [("books_per_day", 80, 8), ("books_per_day", 100, 10)]

    event = OutboxEvent.objects.get(payload__threshold=80)
    assert (event.type, event.subject_type, event.subject_id) == (THRESHOLD_REACHED, "user", user.pk)
    assert (event.occurred_at, event.pk.version) == (NOON, 7)
    assert event.payload == {
        "user_id": str(user.pk),
        "subscription_id": str(row.pk),
        "threshold": 80,
        "limit": "books_per_day",
        "action": "books",
        "window": "day",
        "local_date": "2026-03-15",
        "max": 10,
        "used": 8,
        "remaining": 2,
        "resets_at": "2026-03-16T00:00:00+00:00",
    }


def test_a_new_window_and_a_raised_limit_tell_anew(user, use):
    row = subscribed(user, features={"books_per_day": 10})
    use(user, 10)
    use(user, 9, now=NOON + timedelta(days=1))
    row.plan = plan(features={"books_per_day": 20})
    row.save()
    use(user, 7, now=NOON + timedelta(days=1))

    assert told() == [
        ("books_per_day", 80, 9),
        ("books_per_day", 80, 10),
        ("books_per_day", 80, 16),
        ("books_per_day", 100, 10),
    ]


def test_several_limits_at_once_are_told_each(user, use):
    subscribed(user, features={"books_per_day": 2}, max_usage_per_day=2)

    use(user, 2)

    assert told() == [
        ("books_per_day", 80, 2),
        ("books_per_day", 100, 2),
        ("max_usage_per_day", 80, 2),
        ("max_usage_per_day", 100, 2),
    ]


def test_a_refused_use_tells_nothing(user):
    subscribed(user, features={"books_per_day": 10}, max_usage_per_month=5)

    with pytest.raises(UsageLimitExceeded):
        log(user, 9)

    assert told() == []


def test_what_a_batch_counts_beyond_the_limit_is_told_once(user):
    subscribed(user, features={"books_per_day": 10})

    batch(user, 5, 6, 7)
    batch(user, 1)

    assert told() == [("books_per_day", 80, 18), ("books_per_day", 100, 18)]


def test_thresholds_are_a_setting(user, use, settings):
    subscribed(user, features={"books_per_day": 10})
    settings.USAGE_ALERT_THRESHOLDS = []
    use(user, 9)
    settings.USAGE_ALERT_THRESHOLDS = [95]
    use(user, 1)

    assert told() == [("books_per_day", 95, 10)]


def test_who_wants_to_know_is_told_by_the_outbox(user, use, django_capture_on_commit_callbacks):
    heard = []
    register_outbox_handler(OutboxHandler("tests.alerts", frozenset({THRESHOLD_REACHED}), heard.append))
    try:
        subscribed(user, features={"books_per_day": 10})
        with django_capture_on_commit_callbacks() as nudges:
            use(user, 8)
        handling = OutboxHandling.objects.get()
        assert (handling.handler, handling.status, len(nudges)) == ("tests.alerts", "pending", 1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (wall,) = cursor.fetchone()
        outbox.outbox_drain(now=NOON, wall=wall)
    finally:
        del registered.outbox_handlers["tests.alerts"]
    assert [(one.type, one.payload["threshold"]) for one in heard] == [(THRESHOLD_REACHED, 80)]
