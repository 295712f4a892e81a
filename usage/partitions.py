"""The monthly partitions of `usage_logs`: made ahead, so that no row has to land in the DEFAULT one.

`usage.retention` takes them away again.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from payflow.core.locks import advisory_lock

#: How far ahead partitions exist; beat looks four times a day.
MONTHS_AHEAD = 3
#: Who makes partitions or takes them away does it alone (an advisory lock).
LOCK = "usage.partitions"
_NAME = re.compile(r"usage_logs_(\d{4})_(\d\d)")


def partition_name(month: date) -> str:
    return f"usage_logs_{month:%Y_%m}"


def month_of(name: str) -> date | None:
    """The month whose partition is called so; None for the DEFAULT one."""
    found = _NAME.fullmatch(name)
    return date(int(found[1]), int(found[2]), 1) if found else None


def partition_names(cursor: CursorWrapper) -> set[str]:
    """Of all partitions that the log has now."""
    cursor.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'usage_logs'::regclass"
    )
    return {name for (name,) in cursor.fetchall()}


def months_between(first: date, last: date) -> list[date]:
    """The first days of the months from `first` to `last`, both included."""
    count = (last.year - first.year) * 12 + last.month - first.month
    return [month_after(first, n) for n in range(count + 1)]


def partitions_ensure(*, now: datetime, until: datetime | None = None) -> int:
    """Makes the partitions from this month to MONTHS_AHEAD after `until` (default: now) and returns how many it made.

    Rows of such a month that are in the DEFAULT partition (the sweep slept for months) move into it: they would
    otherwise refuse its making for ever.
    """
    start = now.astimezone(UTC).date().replace(day=1)
    last = month_after((until or now).astimezone(UTC).date().replace(day=1), MONTHS_AHEAD)
    wanted = months_between(start, last)
    with connection.cursor() as cursor:
        if not _missing(cursor, wanted):
            return 0
        with transaction.atomic():
            advisory_lock(LOCK)
            missing = _missing(cursor, wanted)
            for month in missing:
                partition_make(cursor, month)
    return len(missing)


def month_after(month: date, count: int) -> date:
    """The first day of the month so many months later; earlier where `count` is negative."""
    year, month0 = divmod(month.year * 12 + month.month - 1 + count, 12)
    return date(year, month0 + 1, 1)


def _missing(cursor: CursorWrapper, wanted: list[date]) -> list[date]:
    present = partition_names(cursor)
    return [month for month in wanted if partition_name(month) not in present]


def partition_make(cursor: CursorWrapper, month: date) -> None:
    """In the caller's transaction. Rows of the month that are in the DEFAULT partition move into it."""
    name, start, end = partition_name(month), f"{month} 00:00+00", f"{month_after(month, 1)} 00:00+00"
    bounds = f"FOR VALUES FROM ('{start}') TO ('{end}')"
    # Names and bounds are made of a date: there is nothing to inject.
    stray = "FROM usage_logs_default WHERE created_at >= %s AND created_at < %s"
    cursor.execute(f"SELECT EXISTS (SELECT {stray})", [start, end])
    if not cursor.fetchone()[0]:
        cursor.execute(f"CREATE TABLE {name} PARTITION OF usage_logs {bounds}")
        return
    # Writers wait: a row that came in between would refuse the partition.
    cursor.execute("LOCK TABLE usage_logs IN SHARE ROW EXCLUSIVE MODE")
    cursor.execute(f"CREATE TABLE {name} (LIKE usage_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    cursor.execute(
        f"WITH moved AS (DELETE {stray} RETURNING *) INSERT INTO {name} SELECT * FROM moved",  # noqa: S608
        [start, end],
    )
    cursor.execute(f"ALTER TABLE usage_logs ATTACH PARTITION {name} {bounds}")
