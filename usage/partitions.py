"""The monthly partitions of `usage_logs`: made ahead, so that no row has to land in the DEFAULT one."""

from __future__ import annotations

from datetime import UTC, date, datetime

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from payflow.core.locks import advisory_lock

#: How far ahead partitions exist; beat looks four times a day.
MONTHS_AHEAD = 3


def partition_name(month: date) -> str:
    return f"usage_logs_{month:%Y_%m}"


def months_between(first: date, last: date) -> list[date]:
    """The first days of the months from `first` to `last`, both included."""
    count = (last.year - first.year) * 12 + last.month - first.month
    return [_month_after(first, n) for n in range(count + 1)]


def partitions_ensure(*, now: datetime, until: datetime | None = None) -> int:
    """Makes the partitions from this month to MONTHS_AHEAD after `until` (default: now) and returns how many it made.

    Rows of such a month that are in the DEFAULT partition (the sweep slept for months) move into it: they would
    otherwise refuse its making for ever.
    """
    start = now.astimezone(UTC).date().replace(day=1)
    last = _month_after((until or now).astimezone(UTC).date().replace(day=1), MONTHS_AHEAD)
    wanted = months_between(start, last)
    with connection.cursor() as cursor:
        if not _missing(cursor, wanted):
            return 0
        with transaction.atomic():
            advisory_lock("usage.partitions")
            missing = _missing(cursor, wanted)
            for month in missing:
                _make(cursor, month)
    return len(missing)


def _missing(cursor: CursorWrapper, wanted: list[date]) -> list[date]:
    cursor.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'usage_logs'::regclass"
    )
    present = {name for (name,) in cursor.fetchall()}
    return [month for month in wanted if partition_name(month) not in present]


def _make(cursor: CursorWrapper, month: date) -> None:
    name, start, end = partition_name(month), f"{month} 00:00+00", f"{_month_after(month, 1)} 00:00+00"
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


def _month_after(month: date, count: int) -> date:
    year, month0 = divmod(month.year * 12 + month.month - 1 + count, 12)
    return date(year, month0 + 1, 1)
