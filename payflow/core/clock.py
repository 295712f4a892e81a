"""The two clocks. Read once at an edge (view, task, command) and passed down as an argument.

`now()` is *business time*: periods, usage windows, dunning, `created_at` of money and usage. `wall()` is real time: leases
of retries, tokens, signatures, rate limits, idempotency. They are the same unless `PAYFLOW_TIME_TRAVEL` is on, when
business time runs ahead by an offset kept in PostgreSQL, the same for every process, which never shrinks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from payflow.core.errors import InvalidTransition


def wall() -> datetime:
    """Real time, aware, UTC."""
    return datetime.now(UTC)


def now() -> datetime:
    """Business time, aware, UTC. One query while time travel is on, none otherwise."""
    return wall() + offset()


def offset() -> timedelta:
    """How far business time is ahead of real time."""
    if not settings.PAYFLOW_TIME_TRAVEL:
        return timedelta(0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT ahead FROM clock_offset")
        row = cursor.fetchone()
    return row[0] if row else timedelta(0)


def move_to(moment: datetime) -> datetime:
    """Moves business time forward to `moment` for all processes and returns it; a moment in the past moves nothing.

    Raises InvalidTransition where time travel is off. Runs nothing: `payflow.core.time_travel` does.
    """
    if not settings.PAYFLOW_TIME_TRAVEL:
        raise InvalidTransition("Time travel is off (PAYFLOW_TIME_TRAVEL)")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO clock_offset AS c (id, ahead) VALUES (1, greatest(%s * interval '1 second', interval '0'))"
            " ON CONFLICT (id) DO UPDATE SET ahead = greatest(c.ahead, EXCLUDED.ahead)",
            [(moment - wall()).total_seconds()],
        )
    return moment
