"""A small storm, a worker killed in it. `./benchmarks/storm` is the large one."""

from __future__ import annotations

import json
import os
import random
import time

import psycopg
import pytest

from tests import database
from tests.depth import depth
from tests.live.stack import Stack, database_on
from tests.live.storm.books import BELIEVED_FORGERIES, NEWS, differences, rows
from tests.live.storm.course import Forgery, course_of, genuine_of
from tests.live.storm.run import storm

# The template of the storm's database is the test database.
pytestmark = pytest.mark.django_db

#: After those of the stacks: one per parallel test process.
REDIS_DATABASE = 10 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.mark.deep
def test_a_storm_ends_as_a_quiet_day_does(django_db_setup, django_db_blocker, tmp_path) -> None:
    with django_db_blocker.unblock():
        template = database.template_name()

    deliveries = depth(sample=100, full=400)
    haste = Haste()
    outcome = storm(
        template,
        tmp_path,
        deliveries=deliveries,
        kills=1,
        seed=7,
        connections=8,
        redis_database=REDIS_DATABASE,
        after_kill=haste,
        check=haste.hurry,
    )

    assert not outcome.violations, "\n".join(outcome.violations)
    told = dict(outcome.table)
    assert {name: int(told[name]) / deliveries for name in ("accepted", "duplicates", "forged")} == {
        "accepted": 0.98,
        "duplicates": 0.2,
        "forged": 0.02,
    }
    assert 0.2 * deliveries <= int(told["out of order"]) <= 0.2 * deliveries + 2  # a story is turned whole
    assert int(told["applied"]) == 0.78 * deliveries


class Haste:
    """After the kill nobody waits for a lease or for the pause before a retry; often enough, and not so often that the
    tries run out."""

    EVERY = 2.0

    def __init__(self) -> None:
        self._stack: Stack | None = None
        self._next = 0.0

    def __call__(self, stack: Stack) -> None:
        self._stack = stack
        stack.sql("UPDATE webhook_events SET next_attempt_at = now() WHERE status = 'received' AND attempts > 0")

    def hurry(self) -> None:
        if self._stack and time.monotonic() >= self._next:
            self._stack.sql("UPDATE webhook_events SET next_attempt_at = now() WHERE status = 'failed'")
            self._next = time.monotonic() + self.EVERY


def test_a_course_follows_from_its_seed_and_has_the_shares_it_says() -> None:
    stories = [
        [json.dumps({"id": f"{story}-{number}", "data": {}}) for number in range(length)]
        for story, length in enumerate([1, 2, 3, 4] * 39)
    ]
    assert sum(map(len, stories)) == genuine_of(500)

    course = course_of(stories, deliveries=500, chance=random.Random(3))

    assert course == course_of(stories, deliveries=500, chance=random.Random(3))
    assert course != course_of(stories, deliveries=500, chance=random.Random(4))
    assert (len(course.sendings), course.repeated, course.forged) == (500, 100, 10)
    first: dict[str, int] = {}
    for place, sending in enumerate(course.sendings):
        if not sending.forgery:
            first.setdefault(json.loads(sending.body)["id"], place)
    assert first.keys() == {json.loads(body)["id"] for story in stories for body in story}
    ahead = [
        place
        for name, place in first.items()
        if not name.endswith("-0") and place < first[name.rpartition("-")[0] + "-0"]
    ]
    assert 100 <= len(ahead) == course.out_of_order <= 102  # a story is turned whole
    assert {sending.forgery for sending in course.sendings} == {None, *Forgery}
    altered = [sending for sending in course.sendings if sending.forgery == Forgery.ALTERED]
    assert all(sending.signed != sending.body for sending in altered)


def test_the_reading_sees_what_went_wrong(django_db_setup, django_db_blocker) -> None:
    with django_db_blocker.unblock():
        template = database.template_name()
    event = (
        "INSERT INTO webhook_events (id, provider, event_id, body, headers, status, attempts, error)"
        " VALUES (gen_random_uuid(), 'sandbox', %s, %s, '{}', %s, %s, '')"
    )
    with database_on(template) as storm, database_on(template) as quiet:
        with psycopg.connect(quiet, autocommit=True) as connection:
            for name in ("evt_lost", "evt_other", "evt_same"):
                connection.execute(event, [name, b"{}", "processed", 1])
        with psycopg.connect(storm, autocommit=True) as connection:
            connection.execute(event, ["evt_other", b"{}", "review", 1])
            connection.execute(event, ["evt_same", b'{"payment_id": "pay_forged_1"}', "processed", 1])
            connection.execute(event, ["rejected:1", b"{}", "rejected", 0])
            assert len(rows(storm, BELIEVED_FORGERIES)) == 1
            connection.execute(event, ["rejected:2", b"{}", "rejected", 1])
            connection.execute(event, ["evt_taken", b"{}", "rejected", 0])

        assert [line.partition(":")[0] for line in differences(storm, quiet, NEWS)] == ["evt_lost", "evt_other"]
        believed = [row[0] for row in rows(storm, BELIEVED_FORGERIES)]
        assert [line.partition(" ")[0] for line in believed] == ["event", "forged", "event"]
        assert rows(quiet, BELIEVED_FORGERIES) == []
