"""The part of a period that an amount stands for. Pure: exact fractions, rounded once at the end."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Literal
from zoneinfo import ZoneInfo

from payflow.core.money import Money
from subscriptions.periods import Period

Unit = Literal["second", "day"]


def prorate(
    amount: Money, period: Period, since: datetime, until: datetime, *, unit: Unit = "second", tz: str = "UTC"
) -> Money:
    """What of `amount`, the price of the whole `period`, falls to [since, until): multiplied first, rounded once.

    Raises ValueError for a negative amount and for a part that is not inside the period.
    """
    if amount.amount < 0:
        raise ValueError("only what is owed or paid can be prorated")
    return Money.of_fraction(
        Fraction(amount.amount) * share_of(period, since, until, unit=unit, tz=tz), amount.currency
    )


def share_of(period: Period, since: datetime, until: datetime, *, unit: Unit = "second", tz: str = "UTC") -> Fraction:
    """The part of `period` that [since, until) is, between 0 and 1: of its time, or of its calendar days in `tz`.

    By day, a part has the day on which it begins and not the one on which it ends (see `had_until`). A period that begins
    and ends on one day is divided by its time. Raises ValueError for a part that is not inside the period.
    """
    if not period.start <= since <= until <= period.end:
        raise ValueError("the part lies inside the period")
    if unit == "day":
        zone = ZoneInfo(tz)
        days = _days(period.start, period.end, zone)
        if days > 0:
            # Where clocks go back over midnight a later moment has the earlier date: nobody gets more than everything.
            first, last = (min(max(_days(period.start, moment, zone), 0), days) for moment in (since, until))
            return Fraction(max(last - first, 0), days)
    return Fraction(_ticks(until - since), _ticks(period.end - period.start))


def had_until(at: datetime, *, unit: Unit, tz: str) -> datetime:
    """To when that is had which ends at `at`: by day, to the end of the day, for a day begun is had.

    Otherwise whoever leaves before midnight and comes back after it would have every day for nothing.
    """
    if unit == "second":
        return at
    return day_of(at, tz=tz).end


def day_of(at: datetime, *, tz: str) -> Period:
    """The calendar day of `at` in `tz`, 23 to 25 hours."""
    today = at.astimezone(ZoneInfo(tz)).date()
    return Period(_midnight(today, tz), _midnight(today + timedelta(days=1), tz))


def _midnight(day: date, tz: str) -> datetime:
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(tz)).astimezone(UTC)


def _days(start: datetime, end: datetime, zone: ZoneInfo) -> int:
    return (end.astimezone(zone).date() - start.astimezone(zone).date()).days


def _ticks(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
