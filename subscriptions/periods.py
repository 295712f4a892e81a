"""Billing periods, computed from an anchor. Pure: no clock, no database.

Period *n* is computed from the anchor and never from the period before it, so that 31 January is followed by 28 February
and by 31 March. Calendar arithmetic happens on the wall clock of the subscriber's IANA zone: a boundary that falls in a
DST gap moves forward by the gap, one in an overlap is its first occurrence. Periods are half-open.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAYS = {"daily": 1, "weekly": 7}
_MONTHS = {"monthly": 1, "yearly": 12}
#: Used for a first guess only; the search corrects it.
_APPROXIMATE_DAYS = {"daily": 1.0, "weekly": 7.0, "monthly": 30.436875, "yearly": 365.2425}


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end), both aware. Raises ValueError where they are naive or not in order."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a period has aware boundaries")
        if self.end <= self.start:
            raise ValueError("a period ends after it starts")

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


def period_at(anchor: datetime, cycle: str, index: int, *, interval: int = 1, tz: str = "UTC") -> Period:
    """Period number `index` from the anchor; negative numbers lie before it.

    Raises ValueError for an unknown cycle, an interval below 1, a naive anchor, a period outside the years 1 to 9999
    and a day that the zone left out (30 December 2011 in Apia); ZoneInfoNotFoundError for the zone.
    """
    zone = _checked(anchor, cycle, interval, tz)
    start, end = (_boundary(anchor, cycle, number * interval, zone) for number in (index, index + 1))
    if start == end:
        raise ValueError(f"period {index} does not exist: its day was left out in {tz}")
    return Period(start, end)


def period_containing(anchor: datetime, cycle: str, at: datetime, *, interval: int = 1, tz: str = "UTC") -> Period:
    """The period in which the moment `at` lies. Raises as `period_at`; a day that was left out is in no period."""
    zone = _checked(anchor, cycle, interval, tz)
    if at.tzinfo is None:
        raise ValueError("the moment is aware")
    index = int((at - anchor) / timedelta(days=_APPROXIMATE_DAYS[cycle] * interval))
    start, end = (_boundary(anchor, cycle, number * interval, zone) for number in (index, index + 1))
    while start > at:
        index -= 1
        start, end = _boundary(anchor, cycle, index * interval, zone), start
    while end <= at:
        index += 1
        start, end = end, _boundary(anchor, cycle, (index + 1) * interval, zone)
    return Period(start, end)


def _checked(anchor: datetime, cycle: str, interval: int, tz: str) -> ZoneInfo:
    if anchor.tzinfo is None:
        raise ValueError("the anchor is aware")
    if cycle not in _APPROXIMATE_DAYS:
        raise ValueError(f"{cycle!r} is not a billing cycle")
    if interval < 1:
        raise ValueError("the interval is at least 1")
    try:
        return ZoneInfo(tz)
    except (ValueError, OSError) as error:  # "", "../UTC", "/etc/localtime", and "Europe", which is a directory
        raise ZoneInfoNotFoundError(f"No time zone found with key {tz!r}") from error


def _boundary(anchor: datetime, cycle: str, units: int, zone: ZoneInfo) -> datetime:
    if units == 0:
        return anchor.astimezone(UTC)
    try:
        local = anchor.astimezone(zone).replace(tzinfo=None, fold=0)
        moved = (
            local + timedelta(days=_DAYS[cycle] * units)
            if cycle in _DAYS
            else _add_months(local, _MONTHS[cycle] * units)
        )
        # fold=0 takes the first of two occurrences; in a gap it takes the offset before the gap, which lands after it.
        return moved.replace(tzinfo=zone, fold=0).astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise ValueError("a boundary lies outside the calendar") from error


def _add_months(local: datetime, months: int) -> datetime:
    year, month0 = divmod(local.year * 12 + local.month - 1 + months, 12)
    day = min(local.day, calendar.monthrange(year, month0 + 1)[1])
    return local.replace(year=year, month=month0 + 1, day=day)
