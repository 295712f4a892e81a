"""What a user is entitled to."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection

from accounts.models import User
from payflow.core.errors import NotFound
from subscriptions.access import access
from subscriptions.models import Status
from tests.usage.factories import NOON, plan, subscribed, subscription
from usage.limits import limited
from usage.models import UsageCounter
from usage.selectors import COUNTERS, counters_parameters, entitlement, grant
from usage.services import usage_log


def test_an_entitlement_shows_plan_features_and_what_is_left(user):
    row = subscribed(user, features={"books": 2, "exports": True, "words_per_day": -1}, max_usage_per_day=100)
    usage_log(user_id=user.pk, action="books", quantity=2, now=NOON)

    found = entitlement(user.pk, NOON)

    assert (found.entitled, found.plan, found.status) == (True, row.plan, "active")
    assert (found.access_until, found.subscription_id) == (NOON + timedelta(days=15, hours=1), row.pk)
    assert found.features == {"books": 2, "exports": True, "words_per_day": -1}
    tomorrow, april = datetime(2026, 3, 16, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    assert [tuple(limit.as_json().values()) for limit in found.limits] == [
        ("books", "books", "all", 2, 2, 0, None),
        ("words_per_day", "words", "day", None, 0, None, tomorrow),
        ("max_usage_per_day", "*", "day", 100, 2, 98, tomorrow),
        ("max_usage_per_month", "*", "month", None, 2, None, april),
    ]


def test_the_limits_of_an_entitlement_and_of_the_log_are_the_same(user):
    subscribed(user, features={"books": 20, "books_per_day": 5}, max_usage_per_day=100)

    logged = usage_log(user_id=user.pk, action="books", quantity=3, now=NOON).limits

    shown = {limit.limit: limit for limit in entitlement(user.pk, NOON).limits}
    assert shown == {limit.limit: limit for limit in logged}


@pytest.mark.parametrize("families", [1, 3])
def test_an_entitlement_takes_two_queries_however_many_subscriptions(user, families, django_assert_num_queries):
    for n in range(families):
        subscription(user, plan(family=f"family-{n}", features={f"books{m}_per_day": 5 for m in range(30)}))

    with django_assert_num_queries(2):
        assert len(entitlement(user.pk, NOON).limits) == 32


def test_the_default_plan_takes_three_and_nobody_two(user, settings, django_assert_num_queries):
    with django_assert_num_queries(2):
        assert not entitlement(user.pk, NOON).entitled

    plan(code="everybody")
    settings.PAYFLOW_DEFAULT_PLAN = "everybody"
    with django_assert_num_queries(3):
        found = entitlement(user.pk, NOON)
    assert (found.entitled, found.status, found.subscription_id) == (True, "default", None)


def test_nobody_is_not_entitled_and_nobody_is_not_found(user):
    found = entitlement(user.pk, NOON)

    assert (found.entitled, found.plan, found.status, found.features, found.limits) == (False, None, None, {}, [])
    with pytest.raises(NotFound):
        entitlement(uuid.uuid4(), NOON)


def test_an_entitlement_ends_with_its_time(user):
    subscription(user, plan(), status=Status.TRIAL, trial_ends_at=NOON)

    assert entitlement(user.pk, NOON - timedelta(microseconds=1)).entitled
    assert not entitlement(user.pk, NOON).entitled


def test_of_two_families_the_better_of_each_feature(user):
    best = subscription(user, plan(price=20, features={"exports": False, "books": 2}))
    subscription(user, plan(price=5, family="extra", features={"exports": True, "books": 7, "images_per_day": 3}))
    usage_log(user_id=user.pk, action="images", quantity=2, now=NOON)

    found = entitlement(user.pk, NOON)

    assert found.subscription_id == best.pk
    assert found.features == {"exports": True, "books": 7, "images_per_day": 3}
    assert [(limit.limit, limit.max, limit.used) for limit in found.limits] == [
        ("books", 7, 0),
        ("images_per_day", 3, 2),
        ("max_usage_per_day", None, 2),
        ("max_usage_per_month", None, 2),
    ]


def test_counters_are_found_by_their_primary_key(user):
    subscribed(user, features={"books": 2, "words_per_day": 5})
    crowd = User.objects.bulk_create(User(email=f"crowd{n}@example.com", password="!") for n in range(200))
    UsageCounter.objects.bulk_create(
        UsageCounter(user=each, family="main", action="*", window="day", local_date=date(2025, 1, 1) + timedelta(day))
        for each in crowd
        for day in range(100)
    )
    slots = limited([grant(entry) for entry in access(user.pk, NOON)], NOON)

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE usage_counters")
        cursor.execute("ANALYZE users")
        cursor.execute(f"EXPLAIN {COUNTERS}", counters_parameters(user.pk, slots))
        explained = "\n".join(line for (line,) in cursor.fetchall())

    assert "usage_counters_pkey" in explained, explained
    assert "Seq Scan on usage_counters" not in explained, explained
