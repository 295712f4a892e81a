"""Periods: no gap, no overlap, always from the anchor. Properties for any anchor and zone, examples by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import assume, example, given
from hypothesis import strategies as st

from subscriptions.periods import Period, period_at, period_containing

CYCLES = ["daily", "weekly", "monthly", "yearly"]
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # changed at midnight
    "Pacific/Apia",  # 30 December 2011 did not happen
    "Africa/Casablanca",  # winter time is the summer of the law, and Ramadan is winter
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # half an hour
    "Antarctica/Troll",  # two hours
    "America/St_Johns",
]
TICK = timedelta(microseconds=1)

cycles = st.sampled_from(CYCLES)
zones = st.sampled_from(ZONES)
intervals = st.integers(1, 13)
anchors = st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 31), timezones=st.just(UTC))
indexes = st.integers(-60, 400)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def boundaries(anchor, cycle, count, *, tz="UTC", interval=1, first=0):
    """The starts of `count` periods in the zone's own time, as text."""
    zone = ZoneInfo(tz)
    return [
        period_at(at(anchor), cycle, index, interval=interval, tz=tz).start.astimezone(zone).isoformat()
        for index in range(first, first + count)
    ]


# --- properties ------------------------------------------------------------------------------------------------------


@given(anchor=anchors, cycle=cycles, interval=intervals, tz=zones, index=indexes)
def test_no_gap_no_overlap(anchor, cycle, interval, tz, index):
    assume(not _skipped(anchor, cycle, interval, tz, index))
    period = period_at(anchor, cycle, index, interval=interval, tz=tz)
    after = _next(period, anchor, cycle, interval, tz)
    before = period_containing(anchor, cycle, period.start - TICK, interval=interval, tz=tz)
    assert before.end == period.start < period.end == after.start
    assert before.start < period.start


@given(anchor=anchors, cycle=cycles, interval=intervals, tz=zones, moment=anchors)
@example(at("2011-12-01T10:00-10:00"), "daily", 1, "Pacific/Apia", at("2011-12-30T20:00Z"))
@example(at("2011-12-30T09:59:59.999999Z"), "daily", 1, "Pacific/Apia", at("2011-12-30T10:00Z"))
def test_containing_contains(anchor, cycle, interval, tz, moment):
    period = period_containing(anchor, cycle, moment, interval=interval, tz=tz)
    assert moment in period
    for edge in (period.start, period.end - TICK):
        assert period_containing(anchor, cycle, edge, interval=interval, tz=tz) == period
    assert period.end not in period


@given(anchor=anchors, cycle=cycles, interval=intervals, tz=zones, index=indexes)
def test_containing_agrees_with_the_number(anchor, cycle, interval, tz, index):
    assume(not _skipped(anchor, cycle, interval, tz, index))
    period = period_at(anchor, cycle, index, interval=interval, tz=tz)
    assert period_containing(anchor, cycle, period.start, interval=interval, tz=tz) == period


@given(anchor=anchors, cycle=cycles, interval=intervals, tz=zones)
def test_the_first_period_starts_at_the_anchor_itself(anchor, cycle, interval, tz):
    assert period_at(anchor, cycle, 0, interval=interval, tz=tz).start == anchor
    assert period_containing(anchor, cycle, anchor, interval=interval, tz=tz).start == anchor


@given(anchor=anchors, cycle=cycles, interval=intervals, tz=zones, index=indexes)
def test_an_interval_is_that_many_cycles(anchor, cycle, interval, tz, index):
    assume(not _skipped(anchor, cycle, interval, tz, index))
    period = period_at(anchor, cycle, index, interval=interval, tz=tz)
    single = [period_containing(anchor, cycle, moment, tz=tz) for moment in (period.start, period.end - TICK)]
    assert (single[0].start, single[1].end) == (period.start, period.end)


@given(anchor=anchors, tz=zones, index=indexes)
def test_the_anchors_day_and_hour_are_kept(anchor, tz, index):
    """An independent calendar says where the boundary would be; a gap moves it forward, by less than a day and a bit."""
    zone = ZoneInfo(tz)
    local = anchor.astimezone(zone).replace(tzinfo=None, fold=0)
    start = period_at(anchor, "monthly", index, tz=tz).start.astimezone(zone)
    wanted = local + relativedelta(months=index)
    if _exists(wanted, zone):
        assert start.replace(tzinfo=None, fold=0) == wanted
        assert start.fold == 0 or index == 0
    else:
        assert timedelta(0) < start.replace(tzinfo=None) - wanted <= timedelta(days=1)


@given(anchor=anchors, cycle=cycles, tz=zones, index=indexes)
def test_the_zone_in_which_an_anchor_is_written_does_not_matter(anchor, cycle, tz, index):
    assume(not _skipped(anchor, cycle, 1, tz, index))
    written = anchor.astimezone(timezone(timedelta(hours=-7)))
    period = period_at(written, cycle, index, tz=tz)
    assert period == period_at(anchor, cycle, index, tz=tz)
    assert (period.start.tzinfo, period.end.tzinfo) == (UTC, UTC)


@given(anchor=anchors, index=st.integers(-1000, 4000))
def test_a_day_in_utc_has_24_hours(anchor, index):
    period = period_at(anchor, "daily", index)
    assert (period.start, period.end) == (anchor + timedelta(days=index), anchor + timedelta(days=index + 1))
    assert period_at(anchor, "weekly", index, interval=2).start == anchor + timedelta(days=14 * index)


def _next(period, anchor, cycle, interval, tz):
    return period_containing(anchor, cycle, period.end, interval=interval, tz=tz)


def _exists(naive, zone):
    aware = naive.replace(tzinfo=zone)
    return aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == naive


def _skipped(anchor, cycle, interval, tz, index):
    """The period of this number falls into the one day of these zones that did not happen."""
    if (tz, cycle, interval) != ("Pacific/Apia", "daily", 1):
        return False
    return (anchor.astimezone(ZoneInfo(tz)) + timedelta(days=index)).date().isoformat() == "2011-12-30"


# --- examples by hand ------------------------------------------------------------------------------------------------


def test_the_31st_over_short_months():
    assert [day[:10] for day in boundaries("2026-01-31T10:00Z", "monthly", 7)] == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
        "2026-06-30",
        "2026-07-31",
    ]


def test_the_31st_in_a_leap_year_and_backwards():
    assert [day[:10] for day in boundaries("2028-01-31T10:00Z", "monthly", 3)] == [
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
    ]
    assert [day[:10] for day in boundaries("2028-03-31T10:00Z", "monthly", 4, first=-3)] == [
        "2027-12-31",
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
    ]


def test_29_february_yearly():
    assert [day[:10] for day in boundaries("2024-02-29T10:00Z", "yearly", 6)] == [
        "2024-02-29",
        "2025-02-28",
        "2026-02-28",
        "2027-02-28",
        "2028-02-29",
        "2029-02-28",
    ]
    # 2100 is no leap year.
    assert boundaries("2096-02-29T10:00Z", "yearly", 1, first=4)[0][:10] == "2100-02-28"


def test_every_three_months_from_the_30th_of_november():
    assert [day[:10] for day in boundaries("2025-11-30T10:00Z", "monthly", 4, interval=3)] == [
        "2025-11-30",
        "2026-02-28",
        "2026-05-30",
        "2026-08-30",
    ]


def test_berlin_keeps_its_hour_over_both_changes():
    assert boundaries("2026-02-28T09:00+01:00", "monthly", 10, tz="Europe/Berlin") == [
        "2026-02-28T09:00:00+01:00",
        "2026-03-28T09:00:00+01:00",
        "2026-04-28T09:00:00+02:00",
        "2026-05-28T09:00:00+02:00",
        "2026-06-28T09:00:00+02:00",
        "2026-07-28T09:00:00+02:00",
        "2026-08-28T09:00:00+02:00",
        "2026-09-28T09:00:00+02:00",
        "2026-10-28T09:00:00+01:00",
        "2026-11-28T09:00:00+01:00",
    ]


def test_berlin_the_hour_that_does_not_exist_moves_forward():
    # 29 March 2026: 02:00 becomes 03:00.
    assert boundaries("2026-03-27T02:30+01:00", "daily", 4, tz="Europe/Berlin") == [
        "2026-03-27T02:30:00+01:00",
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:30:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_berlin_the_hour_that_comes_twice_is_the_first():
    # 25 October 2026: 03:00 becomes 02:00.
    assert boundaries("2026-10-24T02:30+02:00", "daily", 3, tz="Europe/Berlin") == [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_an_anchor_in_the_second_of_two_hours_is_kept_as_it_is():
    assert boundaries("2026-10-25T02:30+01:00", "daily", 2, tz="Europe/Berlin", first=-1) == [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
    ]
    assert boundaries("2026-10-25T02:30+01:00", "yearly", 2, tz="Europe/Berlin")[1] == "2027-10-25T02:30:00+02:00"


def test_new_york_days_of_23_and_25_hours():
    spring = period_at(at("2026-03-07T12:00-05:00"), "daily", 0, tz="America/New_York")
    autumn = period_at(at("2026-10-31T12:00-04:00"), "daily", 0, tz="America/New_York")
    assert spring.end - spring.start == timedelta(hours=23)
    assert autumn.end - autumn.start == timedelta(hours=25)
    # 8 March 2026: 02:00 becomes 03:00; 1 November: 02:00 becomes 01:00.
    assert boundaries("2026-02-08T02:15-05:00", "monthly", 3, tz="America/New_York") == [
        "2026-02-08T02:15:00-05:00",
        "2026-03-08T03:15:00-04:00",
        "2026-04-08T02:15:00-04:00",
    ]
    assert boundaries("2026-10-01T01:30-04:00", "monthly", 2, tz="America/New_York")[1] == "2026-11-01T01:30:00-04:00"


def test_apia_the_day_that_did_not_happen_is_not_billed():
    # At the end of 29 December 2011 (UTC-10) came 31 December (UTC+14).
    apia = ZoneInfo("Pacific/Apia")
    anchor = at("2011-12-28T10:00-10:00")
    starts, moment = [], anchor
    for _ in range(4):
        period = period_containing(anchor, "daily", moment, tz="Pacific/Apia")
        starts.append(period.start.astimezone(apia).isoformat())
        moment = period.end
    assert starts == [
        "2011-12-28T10:00:00-10:00",
        "2011-12-29T10:00:00-10:00",
        "2011-12-31T10:00:00+14:00",
        "2012-01-01T10:00:00+14:00",
    ]
    with pytest.raises(ValueError, match="does not exist"):
        period_at(anchor, "daily", 2, tz="Pacific/Apia")
    assert (
        period_at(anchor, "daily", 1, tz="Pacific/Apia").end == period_at(anchor, "daily", 3, tz="Pacific/Apia").start
    )


def test_apia_a_month_that_would_start_on_that_day_starts_a_day_later():
    assert boundaries("2011-11-30T10:00-10:00", "monthly", 3, tz="Pacific/Apia") == [
        "2011-11-30T10:00:00-10:00",
        "2011-12-31T10:00:00+14:00",
        "2012-01-30T10:00:00+14:00",
    ]
    assert boundaries("2011-12-23T10:00-10:00", "weekly", 3, tz="Pacific/Apia") == [
        "2011-12-23T10:00:00-10:00",
        "2011-12-31T10:00:00+14:00",
        "2012-01-06T10:00:00+14:00",
    ]


def test_casablanca_leaves_its_summer_time_for_ramadan():
    # 15 February 2026: 03:00 becomes 02:00; 22 March: 02:00 becomes 03:00.
    assert boundaries("2026-02-14T02:30+01:00", "daily", 3, tz="Africa/Casablanca") == [
        "2026-02-14T02:30:00+01:00",
        "2026-02-15T02:30:00+01:00",
        "2026-02-16T02:30:00+00:00",
    ]
    assert boundaries("2026-02-22T02:30+00:00", "monthly", 3, tz="Africa/Casablanca") == [
        "2026-02-22T02:30:00+00:00",
        "2026-03-22T03:30:00+01:00",
        "2026-04-22T02:30:00+01:00",
    ]


def test_kathmandu_has_quarters_of_an_hour():
    assert boundaries("2026-01-31T00:00+05:45", "monthly", 3, tz="Asia/Kathmandu") == [
        "2026-01-31T00:00:00+05:45",
        "2026-02-28T00:00:00+05:45",
        "2026-03-31T00:00:00+05:45",
    ]
    # 1 January 1986: 00:00 became 00:15.
    assert boundaries("1985-12-31T00:05+05:30", "daily", 3, tz="Asia/Kathmandu") == [
        "1985-12-31T00:05:00+05:30",
        "1986-01-01T00:20:00+05:45",
        "1986-01-02T00:05:00+05:45",
    ]


def test_the_zone_decides_which_day_it_is():
    # 1 February 00:30 in Berlin is still January in UTC.
    anchor = at("2026-01-31T23:30Z")
    assert period_at(anchor, "monthly", 1).start == at("2026-02-28T23:30Z")
    assert period_at(anchor, "monthly", 1, tz="Europe/Berlin").start == at("2026-02-28T23:30Z")
    assert period_at(anchor, "monthly", 2).start == at("2026-03-31T23:30Z")
    assert period_at(anchor, "monthly", 2, tz="Europe/Berlin").start == at("2026-03-31T22:30Z")


def test_numbers_before_the_anchor():
    anchor = at("2026-03-31T10:00Z")
    assert period_at(anchor, "monthly", -1) == Period(at("2026-02-28T10:00Z"), anchor)
    assert period_containing(anchor, "monthly", anchor - TICK) == period_at(anchor, "monthly", -1)
    assert period_containing(anchor, "yearly", at("1900-01-01T00:00Z"), interval=7).start == at("1893-03-31T10:00Z")


@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("year", [1700, 2500, 9990])
def test_far_years(cycle, year):
    anchor, moment = at("2026-01-31T10:00Z"), datetime(year, 6, 15, tzinfo=UTC)
    period = period_containing(anchor, cycle, moment)
    assert moment in period
    assert period.end - period.start <= timedelta(days=366)


@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("count", [4_000_000, -4_000_000])
def test_outside_of_the_calendar(cycle, count):
    with pytest.raises(ValueError, match="calendar"):
        period_at(at("2026-01-31T10:00Z"), cycle, count)


def test_the_calendars_end():
    with pytest.raises(ValueError, match="calendar"):
        period_containing(at("2026-01-31T10:00Z"), "monthly", datetime(9999, 12, 31, 23, tzinfo=UTC))


# --- invalid input ---------------------------------------------------------------------------------------------------

ANCHOR = at("2026-01-31T10:00Z")


@pytest.mark.parametrize("cycle", ["", "hourly", "MONTHLY", "quarterly", None])
def test_an_unknown_cycle(cycle):
    with pytest.raises(ValueError, match="is not a billing cycle"):
        period_at(ANCHOR, cycle, 0)


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_below_one(interval):
    with pytest.raises(ValueError, match="at least 1"):
        period_at(ANCHOR, "monthly", 0, interval=interval)
    with pytest.raises(ValueError, match="at least 1"):
        period_containing(ANCHOR, "monthly", ANCHOR, interval=interval)


@pytest.mark.parametrize(
    "tz", ["", "Nowhere/Land", "europe/berlin!", "Europe", "../UTC", "/etc/localtime", "UTC\0", "\ud800"], ids=ascii
)
def test_an_unknown_zone(tz):
    with pytest.raises(ZoneInfoNotFoundError):
        period_at(ANCHOR, "monthly", 0, tz=tz)


def test_naive_moments():
    with pytest.raises(ValueError, match="anchor is aware"):
        period_at(datetime(2026, 1, 31), "monthly", 0)
    with pytest.raises(ValueError, match="moment is aware"):
        period_containing(ANCHOR, "monthly", datetime(2026, 1, 31))
    with pytest.raises(ValueError, match="aware boundaries"):
        Period(datetime(2026, 1, 31), ANCHOR)
    with pytest.raises(ValueError, match="aware boundaries"):
        Period(ANCHOR, datetime(2026, 1, 31))


@pytest.mark.parametrize("end", [ANCHOR, ANCHOR - TICK])
def test_a_period_ends_after_it_starts(end):
    with pytest.raises(ValueError, match="ends after it starts"):
        Period(ANCHOR, end)


def test_a_period_is_half_open():
    period = Period(ANCHOR, ANCHOR + TICK)
    assert ANCHOR in period
    assert ANCHOR + TICK not in period
    assert ANCHOR - TICK not in period
