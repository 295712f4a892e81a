"""Windows by the calendar of the subscriber's zone: midnight, month ends, clocks that jump."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usage.models import Window
from usage.windows import FOR_EVER, span_at


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("window", "now", "tz", "local_date", "resets_at"),
    [
        ("day", "2026-03-15T23:59:59.999999Z", "UTC", "2026-03-15", "2026-03-16T00:00Z"),
        ("day", "2026-03-16T00:00Z", "UTC", "2026-03-16", "2026-03-17T00:00Z"),
        # 23:30 in Moscow is 20:30 in UTC: the day ends half an hour later.
        ("day", "2026-03-15T20:30Z", "Europe/Moscow", "2026-03-15", "2026-03-15T21:00Z"),
        ("day", "2026-03-15T21:00Z", "Europe/Moscow", "2026-03-16", "2026-03-16T21:00Z"),
        ("day", "2026-03-15T12:00Z", "Pacific/Kiritimati", "2026-03-16", "2026-03-16T10:00Z"),
        # Berlin: a day of 23 hours, a day of 25.
        ("day", "2026-03-29T00:30Z", "Europe/Berlin", "2026-03-29", "2026-03-29T22:00Z"),
        ("day", "2026-10-25T00:30Z", "Europe/Berlin", "2026-10-25", "2026-10-25T23:00Z"),
        # Cairo skips midnight: the day begins at 01:00, the instant of the jump.
        ("day", "2026-04-23T20:00Z", "Africa/Cairo", "2026-04-23", "2026-04-23T22:00Z"),
        ("day", "2026-04-23T22:00Z", "Africa/Cairo", "2026-04-24", "2026-04-24T21:00Z"),
        # Cairo sets midnight back to 23:00: that hour belongs to the day before, twice.
        ("day", "2026-10-29T20:30Z", "Africa/Cairo", "2026-10-29", "2026-10-29T22:00Z"),
        ("day", "2026-10-29T21:30Z", "Africa/Cairo", "2026-10-29", "2026-10-29T22:00Z"),
        # Havana shows midnight twice: the day begins with the first.
        ("day", "2025-11-02T03:30Z", "America/Havana", "2025-11-01", "2025-11-02T04:00Z"),
        ("day", "2025-11-02T05:30Z", "America/Havana", "2025-11-02", "2025-11-03T05:00Z"),
        # St. John's went from 00:01 back to 23:01: yesterday once more, and it ends once more.
        ("day", "2010-11-07T02:15Z", "America/St_Johns", "2010-11-06", "2010-11-07T02:30Z"),
        ("day", "2010-11-07T02:45Z", "America/St_Johns", "2010-11-06", "2010-11-07T03:30Z"),
        # Samoa left out 30 December 2011.
        ("day", "2011-12-30T05:00Z", "Pacific/Apia", "2011-12-29", "2011-12-30T10:00Z"),
        ("month", "2026-02-28T23:59Z", "UTC", "2026-02-01", "2026-03-01T00:00Z"),
        ("month", "2028-02-29T12:00Z", "UTC", "2028-02-01", "2028-03-01T00:00Z"),
        ("month", "2026-12-31T23:59Z", "UTC", "2026-12-01", "2027-01-01T00:00Z"),
        ("month", "2026-01-31T21:30Z", "Europe/Moscow", "2026-02-01", "2026-02-28T21:00Z"),
        ("month", "2026-03-31T22:30Z", "Europe/Berlin", "2026-04-01", "2026-04-30T22:00Z"),
        ("month", "2026-03-15T12:00Z", "America/New_York", "2026-03-01", "2026-04-01T04:00Z"),
    ],
)
def test_a_window_is_named_by_its_local_date_and_ends_at_local_midnight(window, now, tz, local_date, resets_at):
    span = span_at(window, at(now), tz)

    assert span == (date.fromisoformat(local_date), at(resets_at))
    assert span.resets_at.utcoffset() == timedelta(0)


def test_for_ever_has_no_end():
    assert span_at("all", at("2026-03-15T12:00Z"), "UTC") == (FOR_EVER, None)


@pytest.mark.parametrize("window", [Window.PERIOD, "year"])
def test_only_windows_of_the_calendar(window):
    with pytest.raises(ValueError, match="not a window"):
        span_at(window, at("2026-03-15T12:00Z"), "UTC")


def test_a_naive_moment_is_refused():
    with pytest.raises(ValueError, match="aware"):
        span_at("day", datetime(2026, 3, 15), "UTC")


ZONES = ["UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "America/St_Johns", "Pacific/Apia", "Asia/Kolkata"]


@settings(max_examples=300, deadline=None)
@given(
    now=st.datetimes(datetime(2008, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    tz=st.sampled_from(ZONES),
    window=st.sampled_from(["day", "month"]),
)
def test_a_window_lasts_until_its_end_and_not_longer(now, tz, window):
    span = span_at(window, now, tz)

    def named(moment):
        day = moment.astimezone(ZoneInfo(tz)).date()
        return day if window == "day" else day.replace(day=1)

    assert span.resets_at > now
    assert named(now) == span.local_date
    assert named(span.resets_at - timedelta(microseconds=1)) == span.local_date
    assert named(span.resets_at) > span.local_date
