"""Taking units: exact at the limit, all or nothing, in the window of the subscriber's zone."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from payflow.core.errors import ValidationFailed
from subscriptions.models import Status
from tests.usage.factories import NOON, plan, subscribed, subscription
from tests.usage.support import counters, written
from usage.errors import NotEntitled, UsageLimitExceeded
from usage.models import UsageLog
from usage.services import usage_log

NOTHING = (0, 0, 0)


def log(user, action="translations", *, now=NOON, **fields):
    return usage_log(user_id=user.pk, action=action, now=now, **fields)


def test_a_unit_is_logged_and_counted_in_all_five_counters(user):
    row = subscribed(user, features={"translations_per_day": 30})

    usage = log(user, quantity=3, content_id="book-7", metadata={"words": 120, "ratio": 0.5, "title": "Ümlaut"})

    entry = UsageLog.objects.get()
    assert entry.pk == usage.id
    assert (entry.user_id, entry.subscription_id, entry.action, entry.quantity) == (user.pk, row.pk, "translations", 3)
    assert (entry.content_id, entry.event_id) == ("book-7", None)
    assert entry.metadata == {"words": 120, "ratio": 0.5, "title": "Ümlaut"}
    assert entry.occurred_at == entry.created_at == NOON
    assert counters() == {
        ("translations", "day", "2026-03-15"): 3,
        ("translations", "month", "2026-03-01"): 3,
        ("translations", "all", "1970-01-01"): 3,
        ("*", "day", "2026-03-15"): 3,
        ("*", "month", "2026-03-01"): 3,
    }
    assert usage.limits[0].as_json() == {
        "limit": "translations_per_day",
        "action": "translations",
        "window": "day",
        "max": 30,
        "used": 3,
        "remaining": 27,
        "resets_at": datetime(2026, 3, 16, tzinfo=UTC),
    }
    assert usage.remaining == 27


def test_one_statement_writes_it(user, django_assert_num_queries):
    subscribed(user, features={"translations_per_day": 30})

    # the account, access, and the statement; the two others are the savepoint around it inside a test's transaction.
    with django_assert_num_queries(5):
        log(user, event_id="e-1")


def test_the_thirtieth_passes_and_the_thirty_first_is_refused(user):
    subscribed(user, features={"translations_per_day": 30})

    remaining = [log(user).remaining for _ in range(30)]
    with pytest.raises(UsageLimitExceeded) as refused:
        log(user)

    assert remaining == list(range(29, -1, -1))
    assert refused.value.http_status == 429
    assert refused.value.retry_after == 12 * 3600
    assert refused.value.details == {
        "limit": "translations_per_day",
        "action": "translations",
        "window": "day",
        "max": 30,
        "used": 30,
        "remaining": 0,
        "resets_at": datetime(2026, 3, 16, tzinfo=UTC),
    }
    assert written() == (30, 0, 150)


def test_a_quantity_is_taken_whole_or_not_at_all(user):
    subscribed(user, features={"translations_per_day": 30})
    log(user, quantity=25)

    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, quantity=6)
    exact = log(user, quantity=5)

    assert (refused.value.details["used"], refused.value.details["remaining"]) == (25, 5)
    assert exact.remaining == 0


def test_a_refusal_by_the_month_leaves_nothing_behind_in_the_day(user):
    subscribed(user, features={"translations_per_day": 30}, max_usage_per_month=10)
    log(user, "other", quantity=10)
    before = counters()

    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, event_id="e-1")

    assert refused.value.details["limit"] == "max_usage_per_month"
    assert counters() == before
    assert written() == (1, 0, 50)


def test_of_several_limits_the_one_that_lasts_longest_is_told(user):
    subscribed(user, features={"books": 2, "books_per_day": 2, "books_per_month": 2}, max_usage_per_day=2)
    log(user, "books", quantity=2)

    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, "books")

    assert refused.value.details["limit"] == "books"
    assert refused.value.retry_after is None


def test_the_same_in_a_dry_run(user):
    subscribed(user, features={"books": 2, "books_per_day": 2, "books_per_month": 2}, max_usage_per_day=2)

    asked = log(user, "books", quantity=2, dry_run=True)

    assert (asked.id, asked.remaining) == (None, 0)
    assert written() == NOTHING
    assert log(user, "books", quantity=2).limits == asked.limits
    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, "books", dry_run=True)
    assert refused.value.details["limit"] == "books"


def test_a_limit_of_nothing(user):
    subscribed(user, features={"books": 0})

    with pytest.raises(UsageLimitExceeded):
        log(user, "books")

    assert written() == NOTHING


def test_minus_one_is_unlimited(user):
    subscribed(user, features={"books": -1, "books_per_day": -1})

    usage = log(user, "books", quantity=1_000_000)

    assert usage.remaining is None
    assert [(entry.limit, entry.max, entry.used) for entry in usage.limits] == [
        ("books_per_day", None, 1_000_000),
        ("books", None, 1_000_000),
        ("max_usage_per_day", None, 1_000_000),
        ("max_usage_per_month", None, 1_000_000),
    ]


def test_a_false_switch_is_not_entitled(user):
    subscribed(user, features={"exports": False})

    with pytest.raises(NotEntitled) as refused:
        log(user, "exports")

    assert refused.value.http_status == 403
    assert refused.value.details == {"reason": "switched_off", "action": "exports"}
    assert written() == NOTHING


def test_nobody_is_entitled_without_a_subscription(user):
    with pytest.raises(NotEntitled) as refused:
        log(user)

    assert refused.value.details == {"reason": "no_access"}


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (Status.PENDING, {}),
        (Status.PAUSED, {}),
        (Status.SUSPENDED, {}),
        (Status.EXPIRED, {}),
        (Status.ACTIVE, {"end_date": NOON, "auto_renew": False}),
        (Status.TRIAL, {"trial_ends_at": NOON}),
        (Status.PAST_DUE, {"grace_until": NOON}),
    ],
)
def test_a_subscription_that_gives_no_access_gives_no_usage(user, status, fields):
    subscription(user, plan(), status=status, **fields)

    with pytest.raises(NotEntitled):
        log(user)

    assert written() == NOTHING


def test_the_default_plan_is_everybodys(user, settings):
    plan(code="everybody", features={"books": 1})
    settings.PAYFLOW_DEFAULT_PLAN = "everybody"

    log(user, "books")
    with pytest.raises(UsageLimitExceeded):
        log(user, "books")

    assert UsageLog.objects.get().subscription_id is None


def test_an_unknown_user_is_a_fault_of_the_request(db, settings):
    stranger = uuid.uuid4()
    with pytest.raises(ValidationFailed):
        usage_log(user_id=stranger, action="books", now=NOON)

    plan(code="everybody")
    settings.PAYFLOW_DEFAULT_PLAN = "everybody"
    for dry_run in (False, True):
        with pytest.raises(ValidationFailed) as refused:
            usage_log(user_id=stranger, action="books", dry_run=dry_run, now=NOON)
        assert refused.value.details == {"user_id": ["There is no such user"]}
    assert written() == NOTHING


def test_a_change_of_plan_keeps_the_counts(user):
    row = subscribed(user, features={"books_per_month": 5})
    log(user, "books", quantity=5)

    row.plan = plan(features={"books_per_month": 20})
    row.save()
    raised = log(user, "books")
    row.plan = plan(features={"books_per_month": 3})
    row.save()

    assert (raised.limits[0].used, raised.remaining) == (6, 14)
    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, "books")
    assert (refused.value.details["used"], refused.value.details["remaining"]) == (6, 0)


def test_two_families_share_one_set_of_limits(user):
    subscription(user, plan(price=20, features={"books": 2}, max_usage_per_day=4))
    extra = subscription(user, plan(price=5, family="extra", features={"images_per_day": 3}, max_usage_per_day=1))

    log(user, "images", quantity=3)
    log(user, "books")

    assert UsageLog.objects.get(action="images").subscription_id == extra.pk
    assert counters(family="extra").keys() == {
        ("images", "day", "2026-03-15"),
        ("images", "month", "2026-03-01"),
        ("images", "all", "1970-01-01"),
    }
    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, "books")
    assert refused.value.details["limit"] == "max_usage_per_day"


# --- windows -----------------------------------------------------------------------------------------------------------


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("timezone", "last", "first"),
    [
        ("UTC", "2026-03-15T23:59:59Z", "2026-03-16T00:00:00Z"),
        ("Asia/Tokyo", "2026-03-15T14:59:59Z", "2026-03-15T15:00:00Z"),
        ("America/New_York", "2026-03-09T03:59:59Z", "2026-03-09T04:00:00Z"),  # the day of 23 hours ends at UTC-4
        ("Africa/Cairo", "2026-04-23T21:59:59Z", "2026-04-23T22:00:00Z"),  # midnight is skipped
    ],
)
def test_a_day_ends_at_midnight_of_the_subscribers_zone(user, timezone, last, first):
    subscribed(user, timezone=timezone, now=moment(last), features={"books_per_day": 1})
    log(user, "books", now=moment(last))

    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, "books", now=moment(last))
    again = log(user, "books", now=moment(first))

    assert refused.value.retry_after == 1
    assert refused.value.details["resets_at"] == moment(first)
    assert again.remaining == 0


def test_the_hour_that_comes_twice_is_of_one_day(user):
    # Berlin, 25 October 2026: 02:30 at +02:00, then 02:30 at +01:00.
    once, twice = moment("2026-10-25T00:30:00Z"), moment("2026-10-25T01:30:00Z")
    subscribed(user, timezone="Europe/Berlin", now=once, features={"books_per_day": 2})

    log(user, "books", now=once)
    log(user, "books", now=twice)

    with pytest.raises(UsageLimitExceeded):
        log(user, "books", now=twice)


def test_a_change_of_plan_in_a_day_that_loses_an_hour_keeps_the_day(user):
    # New York, 8 March 2026: 02:00 becomes 03:00, and midnight comes at 04:00 UTC.
    row = subscribed(user, timezone="America/New_York", features={"books_per_day": 2})
    log(user, "books", quantity=2, now=moment("2026-03-08T06:30:00Z"))

    row.plan = plan(features={"books_per_day": 3})
    row.save()
    log(user, "books", now=moment("2026-03-08T07:30:00Z"))
    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, "books", now=moment("2026-03-09T03:59:59Z"))

    assert refused.value.details["resets_at"] == moment("2026-03-09T04:00:00Z")
    assert log(user, "books", now=moment("2026-03-09T04:00:00Z")).remaining == 2


def test_a_change_of_plan_at_a_months_end_keeps_the_month(user):
    # Berlin, 31 March 2026, two days after the clocks went forward: the month ends at 22:00 UTC.
    row = subscribed(user, timezone="Europe/Berlin", now=moment("2026-03-31T12:00:00Z"), max_usage_per_month=2)
    log(user, quantity=2, now=moment("2026-03-28T12:00:00Z"))
    row.plan = plan(max_usage_per_month=3)
    row.save()

    log(user, now=moment("2026-03-31T21:59:59Z"))
    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, now=moment("2026-03-31T21:59:59Z"))

    assert refused.value.details["resets_at"] == moment("2026-03-31T22:00:00Z")
    assert log(user, now=moment("2026-03-31T22:00:00Z")).remaining == 2


def test_a_month_ends_in_the_subscribers_zone(user):
    last, first = moment("2026-02-28T15:29:59Z"), moment("2026-02-28T18:30:00Z")
    subscribed(user, timezone="Asia/Kolkata", now=last, max_usage_per_month=1)
    log(user, now=last)

    with pytest.raises(UsageLimitExceeded) as refused:
        log(user, now=first - timedelta(seconds=1))

    assert refused.value.details["resets_at"] == first
    assert log(user, now=first).remaining == 0


def test_for_ever_does_not_start_anew(user):
    row = subscribed(user, features={"books": 1})
    log(user, "books")
    row.end_date = NOON + timedelta(days=800)
    row.save()

    with pytest.raises(UsageLimitExceeded):
        log(user, "books", now=NOON + timedelta(days=700))


def test_a_refusal_leaves_the_callers_transaction_alone(user):
    subscribed(user, features={"books": 1})

    with transaction.atomic():
        log(user, "books")
        with pytest.raises(UsageLimitExceeded):
            log(user, "books")

    assert written() == (1, 0, 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("action", value) for value in ("", "*", "Books", "a b", "ä", "a" * 51, "a\n", None, 7)),
        *(("quantity", value) for value in (0, -1, 1_000_001, 1.5, True, "1", None)),
        *(("content_id", value) for value in ("", "x" * 256, "a\0", 7)),
        *(("event_id", value) for value in ("", "x" * 256, "a\0", 7)),
        *(("metadata", value) for value in ("text", [], {"a": "x" * 8192}, {"a": "ü" * 4100})),
    ],
)
def test_bad_input_is_refused_by_name_and_writes_nothing(user, field, value):
    subscribed(user)

    with pytest.raises(ValidationFailed) as refused:
        usage_log(**{"user_id": user.pk, "action": "books", "now": NOON, field: value})

    assert list(refused.value.details) == [field]
    assert written() == NOTHING


def test_what_is_just_allowed(user):
    subscribed(user)

    log(user, "a" * 50, quantity=1_000_000, event_id="x" * 255, content_id="ü" * 255, metadata={"a": "x" * 8183})
    log(user, "b.o:o-k_7", metadata={})

    assert UsageLog.objects.count() == 2
