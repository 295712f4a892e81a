"""Partitions are there before the rows, whoever makes the time pass."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection

from payflow.core import clock
from payflow.core.registry import registered
from tests.usage.factories import subscribed
from usage.models import UsageLog
from usage.partitions import MONTHS_AHEAD, months_between, partition_name, partitions_ensure
from usage.services import usage_log

pytestmark = pytest.mark.django_db
FAR = datetime(2050, 11, 30, 23, 30, tzinfo=UTC)


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_logs'::regclass")
        return {name for (name,) in cursor.fetchall()}


def partition_of(entry: UsageLog) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM usage_logs WHERE id = %s", [entry.pk])
        return cursor.fetchone()[0]


def in_default() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM usage_logs_default")
        return cursor.fetchone()[0]


def test_migrations_made_this_month_and_three_more():
    this_month = clock.wall().date().replace(day=1)

    ahead = months_between(this_month, this_month + timedelta(days=31 * MONTHS_AHEAD))
    assert {partition_name(month) for month in ahead[: MONTHS_AHEAD + 1]} <= partitions()


def test_the_sweep_makes_what_is_missing_and_then_finds_nothing():
    sweep = registered.sweeps["usage_partitions"]

    assert sweep.run(now=FAR, wall=clock.wall()) == MONTHS_AHEAD + 1
    assert sweep.run(now=FAR, wall=clock.wall()) == 0
    assert {"usage_logs_2050_11", "usage_logs_2050_12", "usage_logs_2051_01", "usage_logs_2051_02"} <= partitions()


def test_time_travel_makes_them_before_time_moves(user):
    target = clock.now() + timedelta(days=400)

    registered.preparations["usage_partitions"](target)

    for days in range(0, 400, 13):
        now = clock.now() + timedelta(days=days)
        subscribed(user, now=now, family=f"f{days}")
        usage_log(user_id=user.pk, action="books", now=now)
    assert in_default() == 0


def test_a_row_goes_to_the_month_of_its_moment_in_utc(user):
    partitions_ensure(now=FAR)
    moments = {
        datetime(2050, 11, 30, 23, 59, 59, 999999, tzinfo=UTC): "usage_logs_2050_11",
        datetime(2050, 12, 1, tzinfo=UTC): "usage_logs_2050_12",
    }
    subscribed(user, now=FAR)

    for moment, partition in moments.items():
        usage_log(user_id=user.pk, action="books", now=moment)
        assert partition_of(UsageLog.objects.get(created_at=moment)) == partition


def test_rows_that_came_before_their_partition_move_into_it(user):
    subscribed(user, now=FAR)
    early = usage_log(user_id=user.pk, action="books", metadata={"a": 1}, event_id="e-1", now=FAR)
    later = usage_log(user_id=user.pk, action="books", now=FAR + timedelta(hours=1))
    assert in_default() == 2

    made = partitions_ensure(now=FAR)

    assert made == MONTHS_AHEAD + 1
    assert in_default() == 0
    moved = UsageLog.objects.get(pk=early.id)
    assert (moved.metadata, moved.event_id, partition_of(moved)) == ({"a": 1}, "e-1", "usage_logs_2050_11")
    assert partition_of(UsageLog.objects.get(pk=later.id)) == "usage_logs_2050_12"
    usage_log(user_id=user.pk, action="books", now=FAR)


def test_months_between_counts_over_a_year():
    assert months_between(date(2026, 11, 1), date(2027, 2, 1)) == [
        date(2026, 11, 1),
        date(2026, 12, 1),
        date(2027, 1, 1),
        date(2027, 2, 1),
    ]
