"""Who announces itself is found, and what the apps have announced can be run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from payflow.core import clock
from payflow.core import registry as core_registry
from payflow.core.registry import OutboxHandler, Sweep, registered
from payflow.core.tasks import run_sweep


def test_what_is_registered_is_found_under_its_name(registry):
    sweep = Sweep("s", lambda *, now, wall: 0, every=timedelta(seconds=1))
    handler = OutboxHandler("h", frozenset({"a"}), lambda occurrence: None)

    def check():
        return None

    def prepare(until):
        return None

    core_registry.register_sweep(sweep)
    core_registry.register_outbox_handler(handler)
    core_registry.register_health_check("c", check)
    core_registry.register_preparation("p", prepare)

    assert registry.sweeps == {"s": sweep}
    assert registry.outbox_handlers == {"h": handler}
    assert registry.health_checks == {"c": check}
    assert registry.preparations == {"p": prepare}


def test_a_second_registration_replaces_the_first(registry):
    for every in (1, 2):
        core_registry.register_sweep(Sweep("s", lambda *, now, wall: 0, every=timedelta(seconds=every)))
    assert [sweep.every for sweep in registry.sweeps.values()] == [timedelta(seconds=2)]


@pytest.mark.parametrize("name", sorted(registered.sweeps))
def test_every_sweep_of_the_apps_finds_nothing_in_an_empty_house(db, name):
    sweep = registered.sweeps[name]
    assert sweep.name == name
    assert sweep.every > timedelta(0)
    now, wall = clock.now(), clock.wall()
    sweep.run(now=now, wall=wall)
    assert sweep.run(now=now, wall=wall) == 0
    assert sweep.next_due is None or sweep.next_due(now) is None


def test_the_task_runs_a_sweep_until_it_finds_nothing(registry, db):
    left = [3, 2, 1]
    taken = []

    def run(*, now, wall):
        taken.append(left.pop(0) if left else 0)
        return taken[-1]

    core_registry.register_sweep(Sweep("s", run, every=timedelta(seconds=1)))
    run_sweep("s")
    assert taken == [3, 2, 1, 0]


def test_the_task_stops_after_twenty_batches(registry, db):
    calls = []

    def run(*, now, wall):
        calls.append(now)
        return 1

    core_registry.register_sweep(Sweep("s", run, every=timedelta(seconds=1)))
    run_sweep("s")
    assert len(calls) == 20
