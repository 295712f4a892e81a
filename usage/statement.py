"""The one statement that writes usage: every counter, the event's key and the log row, all or nothing, in one round trip.

It is a call of the SQL function `usage_take` (migration 0004). Where a counter passes its limit the function raises, which
undoes all of it; where one passes a threshold it tells (`usage.alerts`).
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

import orjson
from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction

from payflow.core import outbox
from usage.alerts import alert_parameters
from usage.limits import Slot

#: SQLSTATE of the SQL function `usage_limit_exceeded` (migration 0001).
LIMIT_EXCEEDED = "PF429"
EVENT_KEY = "usage_events_pkey"

_TAKE = "SELECT used, alerts FROM usage_take(%s::jsonb)"


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


class StandingChanged(Exception):
    """The user does not stand any more as the mark says. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is logged; `metadata` is JSON. `request_hash` belongs to the event and is not used without one.

    With `standing`, a mark of `usage.standing`, it is counted only if the user still stands so.
    """

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
    standing: str | None = None


@dataclass(frozen=True, slots=True)
class Metered:
    """The meter that the units of a priced action are counted on as well.

    It may not pass `cap` (None: no limit). `drawn` of the units are settled with it, for `charge`. `told` is kept with the
    answer of an event.
    """

    meter_id: uuid.UUID
    cap: int | None = None
    drawn: int = 0
    charge: Decimal = Decimal(0)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters that a use raises, as the function wants them: in key order ("C": by code points), whatever the order of
    `slots`. Two callers never wait for each other in a circle then. `order`: the places in `slots`; `told`: as JSON."""

    slots: Sequence[Slot]
    order: Sequence[int]
    told: bytes

    @classmethod
    def of(cls, slots: Sequence[Slot]) -> Counters:
        order = sorted(range(len(slots)), key=lambda place: slots[place][:3])
        named = [place for place, slot in enumerate(slots) if slot.name]
        shown = {place: number for number, place in enumerate(named, start=1)}
        return cls(slots, order, orjson.dumps([_slot(slots[place], shown.get(place)) for place in order]))


def usage_write(row: Row, counters: Counters, now: datetime, *, metered: Metered | None = None) -> Sequence[int]:
    """Counts `row` in `counters`, and on its meter. Returns what is used of each slot after it.

    With an event the answer is kept: id, occurred_at, the limits (the slots that have names), and what the meter tells.

    Raises LimitPassed, EventKnown, UserUnknown or StandingChanged, with nothing written anywhere. Inside a transaction it
    takes a savepoint, so that a refusal leaves the caller's work alone.
    """
    alerts = alert_parameters()
    use = {
        "standing": row.standing,
        "default_plan": settings.PAYFLOW_DEFAULT_PLAN,
        "id": row.id,
        "user_id": row.user_id,
        "subscription_id": row.subscription_id,
        "action": row.action,
        "quantity": row.quantity,
        "content_id": row.content_id,
        "metadata": orjson.Fragment(row.metadata) if row.metadata is not None else None,
        "event_id": row.event_id,
        "request_hash": row.request_hash,
        "occurred_at": row.occurred_at,
        "now": now,
        "slots": orjson.Fragment(counters.told),
        **alerts,
        **_meter(metered),
    }
    try:
        used, told = _called(orjson.dumps(use).decode())
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
    if used is None:
        raise StandingChanged
    if told and alerts["handlers"]:
        outbox.drain_soon()
    return [count for _, count in sorted(zip(counters.order, used, strict=True))]


def _called(use: str) -> tuple[list[int] | None, int | None]:
    with transaction.atomic() if connection.in_atomic_block else nullcontext(), connection.cursor() as cursor:
        cursor.execute(_TAKE, [use])
        used, alerts = cursor.fetchone()
        return used, alerts


def _slot(slot: Slot, place: int | None) -> dict[str, Any]:
    """`place`: which of the limits it is in the kept answer, from 1; None for a counter without one."""
    return {
        "family": slot.family,
        "action": slot.action,
        "usage_window": slot.window,
        "local_date": slot.local_date,
        "name": slot.name,
        "cap": slot.max,
        "resets_at": slot.resets_at,
        "place": place,
    }


def _meter(metered: Metered | None) -> dict[str, Any]:
    if metered is None:
        return {"told": {}}
    return {
        "meter": metered.meter_id,
        "meter_cap": metered.cap,
        "drawn": metered.drawn,
        "charge": str(metered.charge),
        "told": metered.told,
    }


def _constraint(error: IntegrityError) -> str:
    return str(getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or "")


def _passed(error: DatabaseError, quantity: int) -> LimitPassed | None:
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) != LIMIT_EXCEEDED:
        return None
    detail = json.loads(cause.diag.message_detail)  # type: ignore[union-attr]
    return LimitPassed(action=detail["action"], window=detail["window"], used=detail["used"] - quantity)
