"""31 days in one call equal 31 days lived."""

from __future__ import annotations

from bisect import bisect_right, insort
from datetime import timedelta

import pytest

from payflow.core import clock
from payflow.core.errors import InvalidTransition, ValidationFailed
from payflow.core.registry import Sweep, register_preparation, register_sweep
from payflow.core.time_travel import MAX_DAYS, ROUNDS_PER_MOMENT, clock_advance

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
#: How late after its moment a thing may be done in a call of this test.
SOON = timedelta(seconds=20)


class Work:
    """Things due at their moments. `follow` says what a thing done at a moment makes due later."""

    def __init__(self, name, moments, follow=None):
        self.name, self.pending, self.done, self.follow = name, sorted(moments), [], follow
        register_sweep(Sweep(name, self.run, every=DAY, next_due=self.next_due))

    def run(self, *, now, wall):
        due = self.pending[: bisect_right(self.pending, now)]
        for moment in due:
            self.pending.remove(moment)
            self.done.append((moment, now))
            later = self.follow(moment) if self.follow else None
            if later:
                insort(self.pending, later)
        return len(due)

    def next_due(self, after):
        place = bisect_right(self.pending, after)
        return self.pending[place] if place < len(self.pending) else None

    def in_time(self):
        """Each thing was done at its moment, not when the journey ended."""
        return all(moment <= now < moment + SOON for moment, now in self.done)


def test_due_moments_are_visited_in_order(registry):
    start = clock.now()
    order = []
    late = Work("late", [start + 9 * DAY, start + 2 * DAY], follow=lambda at: order.append(("late", at)))
    early = Work("early", [start + 5 * DAY, start + DAY], follow=lambda at: order.append(("early", at)))

    target = clock_advance(by=10 * DAY)

    assert [(name, (at - start) / DAY) for name, at in order] == [("early", 1), ("late", 2), ("early", 5), ("late", 9)]
    assert late.in_time() and early.in_time()
    assert start + 10 * DAY <= target <= clock.now() < target + SOON


def test_what_a_thing_makes_due_on_the_way_is_done_on_the_way(registry):
    start = clock.now()
    renewals = Work("renewals", [start + DAY], follow=lambda at: at + DAY)
    clock_advance(by=31 * DAY)
    assert [(at - start) / DAY for at, _ in renewals.done] == list(range(1, 32))
    assert renewals.in_time()


def test_one_call_of_31_days_equals_31_calls_of_one(registry):
    start = clock.now()

    def world(name):
        return Work(name, [start + 0.3 * DAY, start + 7.2 * DAY], follow=lambda at: at + 3.3 * DAY)

    at_once = world("at_once")
    clock_advance(by=31 * DAY)
    registry.sweeps.clear()
    # The same world lives its days one by one; business time can't go back, so the whole of it lies a journey later.
    shift = clock.now() - start
    daily = Work("daily", [start + shift + 0.3 * DAY, start + shift + 7.2 * DAY], follow=lambda at: at + 3.3 * DAY)
    for _ in range(31):
        clock_advance(by=DAY)

    assert [at - start for at, _ in at_once.done] == [at - start - shift for at, _ in daily.done]
    assert len(at_once.done) == 18
    assert at_once.in_time() and daily.in_time()


def test_what_is_overdue_is_done_before_time_moves(registry):
    start = clock.now()
    overdue = Work("overdue", [start - DAY], follow=lambda at: at + 10 * DAY)
    clock_advance(by=31 * DAY)
    assert [(at - start) / DAY for at, _ in overdue.done] == [-1, 9, 19, 29]
    assert overdue.done[0][1] < start + SOON
    assert all(now < at + SOON for at, now in overdue.done[1:])


def test_a_moment_at_the_target_belongs_to_the_journey_and_a_later_one_does_not(registry):
    start = clock.now()
    work = Work("work", [start + DAY - timedelta(seconds=1), start + 2 * DAY])
    clock_advance(by=DAY)
    assert [(at - start) for at, _ in work.done] == [DAY - timedelta(seconds=1)]
    assert work.pending == [start + 2 * DAY]


def test_sweeps_without_moments_run_at_every_one(registry):
    start = clock.now()
    seen = []

    def run(*, now, wall):
        seen.append((now, wall))
        return 0

    register_sweep(Sweep("follower", run, every=DAY))
    Work("leader", [start + DAY, start + 2 * DAY])
    clock_advance(by=3 * DAY)

    days = {round((now - start) / DAY) for now, _ in seen}
    assert days == {0, 1, 2, 3}
    assert all(abs(wall - start) < SOON for _, wall in seen), "real time does not travel"


def test_a_sweep_that_never_converges_does_not_hang(registry):
    start = clock.now()
    calls = []

    def run(*, now, wall):
        calls.append(now)
        return 1

    register_sweep(Sweep("stuck", run, every=DAY, next_due=lambda after: after + DAY))
    clock_advance(by=3 * DAY)
    # At the start, on the three days (the third is the target) and at the target.
    assert len(calls) in (4 * ROUNDS_PER_MOMENT, 5 * ROUNDS_PER_MOMENT)
    assert clock.now() >= start + 3 * DAY


@pytest.mark.parametrize("back", [timedelta(0), timedelta(microseconds=1), DAY])
def test_a_due_moment_that_is_not_later_does_not_hang(registry, back):
    calls = []

    def next_due(after):
        calls.append(after)
        assert len(calls) < 100, "asked for ever"
        return after - back

    register_sweep(Sweep("stuck", lambda *, now, wall: 0, every=DAY, next_due=next_due))
    start = clock.now()
    clock_advance(by=DAY)
    assert clock.now() >= start + DAY


def test_preparations_come_first_and_know_the_target(registry):
    start = clock.now()
    log = []
    register_preparation("partitions", lambda until: log.append(("prepared", until, clock.now())))
    Work("work", [start + DAY], follow=lambda at: log.append(("done", at)))
    target = clock_advance(by=2 * DAY)
    assert [entry[0] for entry in log] == ["prepared", "done"]
    assert log[0][1] == target
    assert log[0][2] < start + SOON


@pytest.mark.parametrize("by", [timedelta(0), -DAY, timedelta(days=MAX_DAYS, microseconds=1)])
def test_no_time_and_too_much_time_are_refused(registry, by):
    with pytest.raises(ValidationFailed) as refusal:
        clock_advance(by=by)
    assert list(refusal.value.details) == ["advance_days"]
    assert clock.offset() == timedelta(0)


def test_switched_off_nothing_is_even_prepared(registry, settings):
    settings.PAYFLOW_TIME_TRAVEL = False
    log = []
    register_preparation("partitions", log.append)
    work = Work("work", [clock.now()])
    with pytest.raises(InvalidTransition):
        clock_advance(by=DAY)
    assert (log, work.done) == ([], [])
