"""Moving business time forward so that 31 days in one call equal 31 days lived.

From due moment to due moment: the clock is set to the next one, every sweep runs until it finds nothing, and on. Refused
where `PAYFLOW_TIME_TRAVEL` is off (always in production).
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from payflow.core import clock
from payflow.core.errors import ValidationFailed
from payflow.core.registry import registered

#: A sweep that still finds work after this many rounds at one moment is not converging; it goes on at the next.
ROUNDS_PER_MOMENT = 20
MAX_DAYS = 3660

log = logging.getLogger(__name__)


def clock_advance(*, by: timedelta) -> datetime:
    """Advances business time and returns the new one.

    Raises ValidationFailed for nothing, backwards or more than ten years; InvalidTransition where time travel is off.
    """
    if not timedelta(0) < by <= timedelta(days=MAX_DAYS):
        raise ValidationFailed.field("advance_days", f"More than 0 and at most {MAX_DAYS} days")
    start = clock.now()
    target = start + by
    clock.move_to(start)  # raises before anything is prepared where time travel is off
    for prepare in registered.preparations.values():
        prepare(target)
    moment = start
    _run_sweeps(moment)  # what is overdue has no moment of its own later on
    while (due := _next_due(after=moment)) is not None and due <= target:
        moment = due
        clock.move_to(moment)
        _run_sweeps(moment)
    clock.move_to(target)
    _run_sweeps(target)
    return target


def _next_due(*, after: datetime) -> datetime | None:
    moments = [sweep.next_due(after) for sweep in registered.sweeps.values() if sweep.next_due]
    # Not later than `after` would be a fault of the sweep, and for ever.
    return min((moment for moment in moments if moment and moment > after), default=None)


def _run_sweeps(moment: datetime) -> None:
    for _ in range(ROUNDS_PER_MOMENT):
        now = max(moment, clock.now())
        if not sum(sweep.run(now=now, wall=clock.wall()) for sweep in registered.sweeps.values()):
            return
    log.warning("sweeps still find work at %s after %s rounds", moment.isoformat(), ROUNDS_PER_MOMENT)
