"""The one statement that writes usage: log row, event key and every counter, all or nothing, in one round trip.

Counters are raised in key order, so that two callers never wait for each other in a circle; the event key comes after
them, and the log row last. Where a counter passes its limit the statement raises, which undoes all of it; where one passes
a threshold it tells (`usage.alerts`). It reads no counter first: ON CONFLICT DO UPDATE locks the row and adds to its newest
version, so that no two callers can both take the last unit.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import DatabaseError, IntegrityError, connection, transaction

from payflow.core import outbox
from usage.alerts import alert_parameters
from usage.limits import Slot

#: SQLSTATE of the SQL function `usage_limit_exceeded` (migration 0001).
LIMIT_EXCEEDED = "PF429"
EVENT_KEY = "usage_events_pkey"

# Nothing may read a CTE before its check ran: `answer` reads `refused`, and both inserts read `answer`.
_COUNT = """
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest(
        %(families)s::text[], %(actions)s::text[], %(windows)s::text[], %(dates)s::date[],
        %(names)s::text[], %(caps)s::bigint[], %(resets)s::timestamptz[]
    ) WITH ORDINALITY AS w (family, action, "window", local_date, name, cap, resets_at, position)
), raised AS (
    INSERT INTO usage_counters AS c (user_id, family, action, "window", local_date, used, billed)
    SELECT %(user_id)s, family, action, "window", local_date, %(quantity)s, 0
    FROM wanted ORDER BY family COLLATE "C", action COLLATE "C", "window" COLLATE "C"
    ON CONFLICT (user_id, family, action, "window", local_date) DO UPDATE SET used = c.used + EXCLUDED.used
    RETURNING action, "window", used
), counted AS MATERIALIZED (
    SELECT w.*, r.used, CASE WHEN r.used * 100 >= w.cap * %(least)s::int THEN usage_thresholds_reached(
        %(user_id)s, %(subscription_id)s, w.name, w.action, w."window", w.local_date, w.resets_at, r.used, %(quantity)s,
        w.cap, %(thresholds)s::int[], %(now)s, %(handlers)s::text[]
    ) ELSE 0 END AS told
    FROM wanted w JOIN raised r ON r.action = w.action AND r."window" = w."window"
), refused AS MATERIALIZED (
    SELECT usage_limit_exceeded(worst.action, worst."window", worst.used, worst.cap) AS refused
    FROM (
        SELECT action, "window", used, cap FROM counted WHERE used > cap ORDER BY resets_at DESC NULLS FIRST LIMIT 1
    ) AS worst
)"""
# The meter of a priced action: after the counters, and refused like them where it may not pass `meter_cap`.
_METER = """, metered AS (
    UPDATE usage_meters m
    SET used = m.used + %(quantity)s, billed = m.billed + %(drawn)s, charged = m.charged + %(charge)s
    FROM (SELECT count(*) FROM counted) AS counters_first WHERE m.id = %(meter)s
    RETURNING m.used
), included AS MATERIALIZED (
    SELECT usage_limit_exceeded(%(action)s::text, 'period', m.used, %(meter_cap)s::bigint) AS refused
    FROM metered m WHERE m.used > %(meter_cap)s::bigint
)"""
_EVENT = """, event AS (
    INSERT INTO usage_events (user_id, event_id, request_hash, answer, created_at)
    SELECT %(user_id)s, %(event_id)s, %(request_hash)s, body, %(now)s FROM answer
)"""
_LOG = """, log AS (
    INSERT INTO usage_logs (id, user_id, subscription_id, action, content_id, quantity, event_id, metadata,
                            occurred_at, created_at)
    SELECT %(id)s, %(user_id)s, %(subscription_id)s, %(action)s, %(content_id)s, %(quantity)s, %(event_id)s,
           %(metadata)s::jsonb, %(occurred_at)s, %(now)s FROM answer
)
SELECT body, (SELECT sum(told) FROM counted) FROM answer"""


def _answer(*checks: str, more: str = "") -> str:
    """What the statement answers, once every one of `checks` has let it."""
    unless = " AND ".join(
        f"NOT coalesce((SELECT bool_or(r.refused) FROM {name} r), false)"  # noqa: S608
        for name in checks
    )
    return f""", answer AS MATERIALIZED (
    SELECT jsonb_build_object(
        'id', %(id)s::uuid, 'occurred_at', %(occurred_at)s::timestamptz, 'limits', coalesce(jsonb_agg(jsonb_build_object(
            'limit', name, 'action', action, 'window', "window", 'max', cap,
            'used', used, 'remaining', cap - used, 'resets_at', resets_at
        ) ORDER BY position) FILTER (WHERE name IS NOT NULL), '[]')
    ){more} AS body
    FROM counted WHERE {unless}
)"""  # noqa: S608


WITHOUT_EVENT = _COUNT + _answer("refused") + _LOG
WITH_EVENT = _COUNT + _answer("refused") + _EVENT + _LOG
_METERED = _COUNT + _METER + _answer("refused", "included", more=" || %(told)s::jsonb")
METERED_WITHOUT_EVENT = _METERED + _LOG
METERED_WITH_EVENT = _METERED + _EVENT + _LOG


class LimitPassed(Exception):
    """One counter, or the meter (window `period`), would pass its limit. Nothing was written.

    `used` is what the refused units were not added to.
    """

    def __init__(self, *, action: str, window: str, used: int) -> None:
        super().__init__(f"{action} {window}")
        self.action = action
        self.window = window
        self.used = used


class EventKnown(Exception):
    """The event was written before. Nothing was written now."""


class UserUnknown(Exception):
    """There is no such user. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is logged; `metadata` is JSON. `request_hash` belongs to the event and is not used without one."""

    id: uuid.UUID
    user_id: uuid.UUID
    subscription_id: uuid.UUID | None
    action: str
    quantity: int
    content_id: str | None
    metadata: str | None
    event_id: str | None
    request_hash: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Metered:
    """The meter that the units of a priced action are counted on as well.

    It may not pass `cap` (None: no limit). `drawn` of the units are settled with it, for `charge`. `told` joins the answer.
    """

    meter_id: uuid.UUID
    cap: int | None = None
    drawn: int = 0
    charge: Decimal = Decimal(0)
    told: Mapping[str, Any] = field(default_factory=dict)


def usage_write(row: Row, slots: Sequence[Slot], now: datetime, *, metered: Metered | None = None) -> dict[str, Any]:
    """Counts `row` in `slots`, and on its meter, and returns the answer (id, occurred_at, limits), kept with the event.

    Raises LimitPassed, EventKnown or UserUnknown, with nothing written anywhere. Inside a transaction it takes a
    savepoint, so that a refusal leaves the caller's work alone.
    """
    parameters: dict[str, Any] = {
        "id": row.id,
        "user_id": row.user_id,
        "subscription_id": row.subscription_id,
        "action": row.action,
        "quantity": row.quantity,
        "content_id": row.content_id,
        "metadata": row.metadata,
        "event_id": row.event_id,
        "request_hash": row.request_hash,
        "occurred_at": row.occurred_at,
        "now": now,
        "families": [slot.family for slot in slots],
        "actions": [slot.action for slot in slots],
        "windows": [str(slot.window) for slot in slots],
        "dates": [slot.local_date for slot in slots],
        "names": [slot.name for slot in slots],
        "caps": [slot.max for slot in slots],
        "resets": [slot.resets_at for slot in slots],
        **alert_parameters(),
    }
    with_event = row.event_id is not None
    statement = WITH_EVENT if with_event else WITHOUT_EVENT
    if metered is not None:
        statement = METERED_WITH_EVENT if with_event else METERED_WITHOUT_EVENT
        parameters |= {
            "meter": metered.meter_id,
            "meter_cap": metered.cap,
            "drawn": metered.drawn,
            "charge": metered.charge,
            "told": json.dumps(metered.told),
        }
    try:
        with transaction.atomic() if connection.in_atomic_block else nullcontext(), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            body, told = cursor.fetchone()
    except IntegrityError as error:
        constraint = _constraint(error)
        if constraint == EVENT_KEY:
            raise EventKnown from error
        if "user_id" in constraint:  # the foreign key of whichever table came first
            raise UserUnknown from error
        raise
    except DatabaseError as error:
        if (passed := _passed(error, row.quantity)) is not None:
            raise passed from error
        raise
    if told and parameters["handlers"]:
        outbox.drain_soon()
    answer: dict[str, Any] = json.loads(body) if isinstance(body, str) else body
    return answer


def _constraint(error: IntegrityError) -> str:
    return str(getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or "")


def _passed(error: DatabaseError, quantity: int) -> LimitPassed | None:
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) != LIMIT_EXCEEDED:
        return None
    detail = json.loads(cause.diag.message_detail)  # type: ignore[union-attr]
    return LimitPassed(action=detail["action"], window=detail["window"], used=detail["used"] - quantity)
