"""The windows in which usage is counted, by the calendar of an IANA zone. Pure: no clock, no database.

A day or a month begins at local midnight. Where the clocks skip that midnight it begins where they land; where they show
it twice, the date decides: an hour that is yesterday again counts for yesterday again.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from usage.models import Window

#: The `local_date` of the counters that never start anew.
FOR_EVER = date(1970, 1, 1)


class Span(NamedTuple):
    """The window a moment lies in: the date that names it, and the instant (UTC) at which the next one starts."""

    local_date: date
    resets_at: datetime | None


def span_at(window: str, now: datetime, tz: str) -> Span:
    """The day, month or endless window that contains `now` in the zone `tz`.

    Raises ValueError for a naive moment and for windows that no calendar gives; ZoneInfoNotFoundError for the zone.
    """
    if now.tzinfo is None:
        raise ValueError("the moment is aware")
    if window == Window.ALL:
        return Span(FOR_EVER, None)
    zone = ZoneInfo(tz)
    today = now.astimezone(zone).date()
    if window == Window.DAY:
        return Span(today, _midnight(today + timedelta(days=1), zone, after=now))
    if window == Window.MONTH:
        first = today.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
        return Span(first, _midnight(following, zone, after=now))
    raise ValueError(f"{window!r} is not a window of the calendar")


def _midnight(day: date, zone: ZoneInfo, *, after: datetime) -> datetime:
    """The instant at which `day` begins. Of a midnight shown twice the first, unless it is past already."""
    # In a gap fold=0 takes the offset before it: the very instant at which the clocks jump.
    first = datetime(day.year, day.month, day.day, tzinfo=zone, fold=0).astimezone(UTC)
    if first > after:
        return first
    return datetime(day.year, day.month, day.day, tzinfo=zone, fold=1).astimezone(UTC)
