"""How long the usage log is kept: whole months of it are put apart, or dropped. Counters and event keys stay for ever.

Each month is one transaction, DDL and audit entry together: a crash leaves it as it was, and a second run finds nothing.
Writers wait for a lock on the table behind whoever waits for it, so this waits for a moment only and leaves the month to
the next round. (DETACH CONCURRENTLY is not allowed beside a DEFAULT partition.)
"""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, date, datetime

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from payflow.core import audit
from payflow.core.locks import advisory_lock
from usage.partitions import LOCK, month_after, month_of, partition_make, partition_names

#: What becomes of a month that is past its time (setting USAGE_LOG_EXPIRED).
ARCHIVE, DROP = "archive", "drop"
EXPIRED = (ARCHIVE, DROP)
LOCK_TIMEOUT = "300ms"

_LOCK_NOT_AVAILABLE = "55P03"
_SUBJECTS = uuid.UUID("0192c3a1-6d1f-7b52-9a41-0f5b6c2f8d10")

log = logging.getLogger(__name__)


def archive_name(month: date) -> str:
    return f"usage_logs_archive_{month:%Y_%m}"


def log_expire(*, now: datetime) -> int:
    """Archives or drops the months that ended USAGE_LOG_RETENTION_MONTHS ago or earlier; returns how many. 0 keeps all."""
    keep: int = settings.USAGE_LOG_RETENTION_MONTHS
    if not keep:
        return 0
    oldest = month_after(now.astimezone(UTC).date().replace(day=1), -keep)
    expired = 0
    for month in _months_before(oldest):
        if not _expire(month, now):
            break
        expired += 1
    return expired


def _months_before(oldest: date) -> list[date]:
    """The months of the log before `oldest`, also those of which rows lie in the DEFAULT partition only."""
    with connection.cursor() as cursor:
        months = {month for name in partition_names(cursor) if (month := month_of(name))}
        cursor.execute(
            "SELECT DISTINCT date_trunc('month', created_at AT TIME ZONE 'UTC')::date FROM usage_logs_default"
            " WHERE created_at < %s",
            [f"{oldest} 00:00+00"],
        )
        months |= {month for (month,) in cursor.fetchall()}
    return sorted(month for month in months if month < oldest)


def _expire(month: date, now: datetime) -> bool:
    """False where somebody held the table for too long, or another round was faster."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            advisory_lock(LOCK)
            return _taken_out(cursor, month, now)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        log.warning("usage log of %s stays until the next round: the table is in use", month)
        return False


def _taken_out(cursor: CursorWrapper, month: date, now: datetime) -> bool:
    if month not in {month_of(name) for name in partition_names(cursor)}:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM usage_logs_default WHERE created_at >= %s AND created_at < %s)",
            [f"{month} 00:00+00", f"{month_after(month, 1)} 00:00+00"],
        )
        if not cursor.fetchone()[0]:
            return False
        partition_make(cursor, month)  # moves the month's strays out of the DEFAULT partition
    name, archive = f"usage_logs_{month:%Y_%m}", archive_name(month)
    cursor.execute(f"SELECT count(*) FROM {name}")  # noqa: S608 - the name is made of a date
    (rows,) = cursor.fetchone()
    cursor.execute(f"ALTER TABLE usage_logs DETACH PARTITION {name}")
    expired: str = settings.USAGE_LOG_EXPIRED
    if expired == DROP:
        cursor.execute(f"DROP TABLE {name}")
    else:
        _rename(cursor, name, archive)
    audit.record(
        actor="system",
        action=f"usage_log.{expired}",
        subject_type="usage_log",
        subject_id=uuid.uuid5(_SUBJECTS, name),
        data={"month": month.isoformat(), "rows": rows, "table": archive if expired == ARCHIVE else None},
    )
    log.info("usage log of %s: %s, %s rows, business time %s", month, expired, rows, now.isoformat())
    return True


def _rename(cursor: CursorWrapper, name: str, archive: str) -> None:
    """Rows of a month that was archived before (strays that came late) join its table."""
    cursor.execute("SELECT to_regclass(%s)", [archive])
    if cursor.fetchone()[0] is None:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {archive}")
        return
    cursor.execute(f"INSERT INTO {archive} SELECT * FROM {name}")  # noqa: S608 - names are made of a date
    cursor.execute(f"DROP TABLE {name}")
