"""A small storm: 300 deliveries, a worker killed among them. `./benchmarks/storm` is the large one."""

from __future__ import annotations

import os

import pytest

from tests import database
from tests.live.stack import Stack
from tests.live.storm.run import storm

# The template of the storm's database is the test database.
pytestmark = pytest.mark.django_db

#: After those of the stacks: one per parallel test process.
REDIS_DATABASE = 10 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def test_a_storm_ends_as_a_quiet_day_does(django_db_setup, django_db_blocker, tmp_path) -> None:
    with django_db_blocker.unblock():
        template = database.template_name()

    outcome = storm(
        template,
        tmp_path,
        deliveries=300,
        kills=1,
        seed=7,
        connections=8,
        redis_database=REDIS_DATABASE,
        after_kill=_leases_run_out,
    )

    assert outcome.violations == []
    told = dict(outcome.table)
    assert (told["accepted"], told["duplicates"], told["out of order"], told["forged"]) == ("294", "60", "60", "6")
    assert told["applied"] == "234"


def _leases_run_out(stack: Stack) -> None:
    """What the dead worker had in hand; as after two minutes."""
    stack.sql("UPDATE webhook_events SET next_attempt_at = now() WHERE status = 'received' AND attempts > 0")
