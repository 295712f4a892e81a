"""Months of the log are put apart or dropped when their time is over; what was counted stays counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.core import checks
from django.db import connection

from payflow.core import clock
from payflow.core.models import AuditEntry
from payflow.core.registry import registered
from tests.usage.factories import plan, subscription
from tests.usage.support import counters
from tests.usage.test_partitions import in_default, partitions
from usage.models import UsageEvent, UsageLog
from usage.partitions import partitions_ensure
from usage.services import usage_log

#: The log of November is a month old from 1 January on.
NOVEMBER = datetime(2050, 11, 30, 23, 30, tzinfo=UTC)
DECEMBER = datetime(2050, 12, 31, 23, 59, tzinfo=UTC)
JANUARY = datetime(2051, 1, 1, tzinfo=UTC)


def sweep(now) -> int:
    # Months of the present, made by the migrations, are long past here.
    return registered.sweeps["usage_log_retention"].run(now=now, wall=clock.wall())


def rows(table) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]


def exists(table) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [table])
        return cursor.fetchone()[0] is not None


@pytest.fixture
def logged(user, settings):
    """Two rows of November, one of December."""
    settings.USAGE_LOG_RETENTION_MONTHS = 1
    sweep(NOVEMBER)
    partitions_ensure(now=NOVEMBER)
    subscription(user, plan(), now=NOVEMBER, end_date=JANUARY + timedelta(days=30))
    for number, now in enumerate((NOVEMBER, NOVEMBER, DECEMBER)):
        usage_log(user_id=user.pk, action="books", event_id=f"e-{number}", now=now)
    return user


def test_the_log_is_kept_for_ever_unless_said(logged, settings):
    settings.USAGE_LOG_RETENTION_MONTHS = 0

    assert sweep(JANUARY + timedelta(days=9999)) == 0
    assert UsageLog.objects.count() == 3


def test_a_month_is_archived_when_all_of_it_is_past_its_time(logged):
    assert sweep(DECEMBER) == 0

    assert sweep(JANUARY) == 1

    assert "usage_logs_2050_11" not in partitions()
    assert (rows("usage_logs_archive_2050_11"), UsageLog.objects.count()) == (2, 1)
    assert (counters(action="*")["*", "month", "2050-11-01"], UsageEvent.objects.count()) == (2, 3)
    again = usage_log(user_id=logged.pk, action="books", event_id="e-0", now=JANUARY)
    assert again.replayed
    entry = AuditEntry.objects.filter(action="usage_log.archive").latest("created_at")
    assert entry.actor == "system"
    assert entry.data == {"month": "2050-11-01", "rows": 2, "table": "usage_logs_archive_2050_11"}
    assert sweep(JANUARY) == 0


def test_a_month_is_dropped_where_the_setting_says_so(logged, settings):
    settings.USAGE_LOG_EXPIRED = "drop"

    assert sweep(JANUARY) == 1

    assert not exists("usage_logs_2050_11")
    assert not exists("usage_logs_archive_2050_11")
    assert (UsageLog.objects.count(), counters(action="*")["*", "month", "2050-11-01"]) == (1, 2)
    assert AuditEntry.objects.filter(action="usage_log.drop", data__rows=2).count() == 1


def test_strays_in_the_default_partition_go_with_their_month(logged):
    sweep(JANUARY)
    for _ in range(2):  # November has no partition any more: they land in the DEFAULT one
        usage_log(user_id=logged.pk, action="books", now=NOVEMBER)
    assert in_default() == 2

    assert sweep(JANUARY) == 1

    assert (in_default(), rows("usage_logs_archive_2050_11")) == (0, 4)


def test_where_the_table_is_in_use_the_month_waits_for_the_next_round(user, settings):
    settings.USAGE_LOG_RETENTION_MONTHS = 1
    before = partitions()
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as other:
        other.execute("LOCK TABLE usage_logs IN ACCESS SHARE MODE")
        assert sweep(JANUARY) == 0
        assert partitions() == before

    assert sweep(JANUARY) == len(before) - 1, "all but the DEFAULT one"
    assert AuditEntry.objects.filter(action="usage_log.archive").count() == len(before) - 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USAGE_LOG_EXPIRED", "burn"),
        ("USAGE_LOG_RETENTION_MONTHS", -1),
        ("USAGE_LATE_DAYS", -1),
        ("USAGE_AHEAD_MINUTES", None),
        ("USAGE_ALERT_THRESHOLDS", [100, 80]),
        ("USAGE_ALERT_THRESHOLDS", [0, 120]),
    ],
)
def test_a_setting_that_means_nothing_is_an_error_at_the_start(settings, name, value):
    assert not [one for one in checks.run_checks(tags=["payflow"]) if name in one.msg]
    setattr(settings, name, value)
    assert [one.id for one in checks.run_checks(tags=["payflow"]) if name in one.msg] == ["payflow.E010"]
