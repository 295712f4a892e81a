"""What a user used in a range of days: its sums, and its days one by one. From counters, never from the log."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet, Sum

from payflow.core.errors import ValidationFailed
from usage.models import ALL_ACTIONS, UsageCounter, Window

#: How long a range is where nobody says from when.
DEFAULT_DAYS = 30
#: No day of use lies outside, and every one inside has a month that follows.
FIRST, LAST = date(1970, 1, 1), date(9998, 12, 31)


class Range(NamedTuple):
    """From one local date to another, both included."""

    since: date
    until: date


@dataclass(frozen=True, slots=True)
class Statistics:
    """The sums of a range. `actions` and `total` are those of its days; a month is whole, however little of it lies there."""

    span: Range
    total: int
    actions: Mapping[str, int]
    months: Mapping[date, int]


def span_of(since: date | None, until: date | None, now: datetime) -> Range:
    """As it was asked for; else the 30 days up to now. Raises ValidationFailed where it is reversed or out of all calendars."""
    for name, day in (("from", since), ("to", until)):
        if day is not None and not FIRST <= day <= LAST:
            raise ValidationFailed.field(name, f"A date from {FIRST} to {LAST}")
    # A zone ahead of UTC is a date further.
    until = until or now.date() + timedelta(days=1)
    since = since or max(FIRST, until - timedelta(days=DEFAULT_DAYS))
    if since > until:
        raise ValidationFailed.field("from", "Not after `to`")
    return Range(since, until)


def statistics(user_id: uuid.UUID, span: Range, *, action: str | None = None) -> Statistics:
    """One query over the user's own counters, which grows by months and not by days.

    Of `action` where it is given, else of all: `total` and `months` are then those of all actions together.
    """
    shown = action or ALL_ACTIONS
    whole = _whole_months(span)
    in_part = Q(window=Window.DAY, local_date__range=span) & ~Q(local_date__gte=whole.since, local_date__lt=whole.until)
    months = Q(window=Window.MONTH, local_date__range=(span.since.replace(day=1), span.until))
    rows = _counters(user_id, action).filter(in_part | months)
    sums: defaultdict[str, int] = defaultdict(int)
    by_month: dict[date, int] = {}
    summed = rows.values_list("action", "window", "local_date").annotate(total=Sum("used")).order_by("local_date")
    for name, window, day, used in summed:
        if window == Window.MONTH and name == shown:
            by_month[day] = used
        if window == Window.DAY or whole.since <= day < whole.until:
            sums[name] += used
    total = sums.get(shown, 0)
    sums.pop(ALL_ACTIONS, None)
    return Statistics(span, total, dict(sorted(sums.items())), by_month)


def days_of(user_id: uuid.UUID, span: Range, *, action: str | None = None) -> QuerySet[UsageCounter, Any]:
    """The days of the range on which anything (of `action`) was used: rows of `local_date` and `total`, unordered."""
    rows = _counters(user_id, action or ALL_ACTIONS).filter(window=Window.DAY, local_date__range=span)
    return rows.values("local_date").annotate(total=Sum("used")).values_list("local_date", "total", named=True)


def _counters(user_id: uuid.UUID, action: str | None) -> QuerySet[UsageCounter]:
    rows = UsageCounter.objects.filter(user_id=user_id)
    return rows if action is None else rows.filter(action=action)


def _whole_months(span: Range) -> Range:
    """The months that lie in the range whole, half-open; empty (its end not after its start) where none does.

    A month's counter is the sum of its days', which the same statement raises.
    """
    since, until = span.since, span.until + timedelta(days=1)
    begins = since if since.day == 1 else _next_month(since)
    return Range(begins, until.replace(day=1))


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)
