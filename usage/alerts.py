"""Alerts: the domain event `usage.threshold_reached`, when so many per cent of a limit are used.

Once per window, limit and threshold, however many race: counters only rise, and the statement that takes one over a
threshold writes the event in its own transaction (SQL function `usage_thresholds_reached`). A limit that is raised in
mid-window has thresholds of its own; one that is lowered below what is used tells nothing by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.db import connection

from payflow.core import outbox
from usage.limits import Slot

THRESHOLD_REACHED = "usage.threshold_reached"

#: What the function takes besides a counter: the same for the statement of one use and for that of a batch.
_REACHED = """
SELECT sum(usage_thresholds_reached(
    user_id, subscription_id, name, action, "window", local_date, resets_at, used, units, cap,
    %(thresholds)s::int[], %(now)s, %(handlers)s::text[]
))
FROM unnest(
    %(users)s::uuid[], %(subscriptions)s::uuid[], %(names)s::text[], %(actions)s::text[], %(windows)s::text[],
    %(dates)s::date[], %(resets)s::timestamptz[], %(used)s::bigint[], %(units)s::bigint[], %(caps)s::bigint[]
) AS raised (user_id, subscription_id, name, action, "window", local_date, resets_at, used, units, cap)
"""


@dataclass(frozen=True, slots=True)
class Raised:
    """A limited counter after `units` were added to it."""

    user_id: str
    subscription_id: str | None
    slot: Slot
    used: int
    units: int


def alert_parameters() -> dict[str, Any]:
    """`thresholds` in per cent, the `least` of them (None: there are none), and the `handlers` that want to know."""
    thresholds: list[int] = settings.USAGE_ALERT_THRESHOLDS
    return {
        "thresholds": thresholds,
        "least": min(thresholds, default=None),
        "handlers": outbox.handlers_of(THRESHOLD_REACHED),
    }


class _Counter(Protocol):
    @property
    def slot(self) -> Slot: ...
    @property
    def used(self) -> int: ...


C = TypeVar("C", bound=_Counter)


def near_of(counters: Iterable[C]) -> list[C]:
    """Those that are at their lowest threshold or over it; which of them have passed one just now, the database says."""
    least = alert_parameters()["least"]
    if least is None:
        return []
    return [one for one in counters if one.slot.max is not None and one.used * 100 >= one.slot.max * least]


def alerts_emit(near: Sequence[Raised], *, at: datetime) -> None:
    """Tells of every threshold that these counters have passed, in the caller's transaction, which raised them."""
    if not near:
        return
    given = alert_parameters()
    parameters = given | {
        "now": at,
        "users": [uuid.UUID(one.user_id) for one in near],
        "subscriptions": [uuid.UUID(one.subscription_id) if one.subscription_id else None for one in near],
        "names": [one.slot.name for one in near],
        "actions": [one.slot.action for one in near],
        "windows": [str(one.slot.window) for one in near],
        "dates": [one.slot.local_date for one in near],
        "resets": [one.slot.resets_at for one in near],
        "used": [one.used for one in near],
        "units": [one.units for one in near],
        "caps": [one.slot.max for one in near],
    }
    with connection.cursor() as cursor:
        cursor.execute(_REACHED, parameters)
        (reached,) = cursor.fetchone()
    if reached and given["handlers"]:
        outbox.drain_soon()
