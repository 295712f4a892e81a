"""The sandbox's calendar: period n ends n cycles after the anchor, on the month's last day where the anchor's is missing."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta

from providers.sandbox.models import Cycle

_DAYS = {Cycle.DAILY: 1, Cycle.WEEKLY: 7}
_MONTHS = {Cycle.MONTHLY: 1, Cycle.YEARLY: 12}


def cycle_end(anchor: datetime, cycle: Cycle, count: int) -> datetime:
    """`count` cycles after `anchor`, in UTC."""
    if cycle in _DAYS:
        return anchor + timedelta(days=_DAYS[cycle] * count)
    months = anchor.year * 12 + anchor.month - 1 + _MONTHS[cycle] * count
    year, month = months // 12, months % 12 + 1
    return anchor.replace(year=year, month=month, day=min(anchor.day, monthrange(year, month)[1]))
