"""One storm: the world, a quiet day on a copy of it, the deliveries with workers killed among them, and what is left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.live.stack import ROOT, Stack, database_on, eventually, redis_urls
from tests.live.storm.books import BELIEVED_FORGERIES, MONEY_KEYS, NEWS, SUBSCRIBERS, differences, rows
from tests.live.storm.course import Course, course_of, genuine_of
from tests.live.storm.sender import Answered, Sender, quantile

SECRET = "sandbox_demo_webhook_secret"
HANDLED = "SELECT count(*) FROM webhook_events WHERE status NOT IN ('received', 'failed', 'rejected')"
WAITING = "SELECT count(*) FROM webhook_events WHERE status IN ('received', 'failed')"
RETRIED = "SELECT coalesce(sum(attempts - 1), 0) FROM webhook_events WHERE attempts > 1"
APPLIED = "SELECT count(*) FROM webhook_events WHERE status = 'processed'"
#: At most so many lines for one invariant.
SHOWN = 10
#: A dead worker's lease is two minutes, and what waits for its news is asked for again later and later.
SETTLED_WITHIN = 1200.0


@dataclass(frozen=True)
class Outcome:
    """`table` is what happened, `violations` what must not have."""

    table: Sequence[tuple[str, str]]
    violations: Sequence[str]

    def text(self) -> str:
        width = max(len(name) for name, _ in self.table)
        return "\n".join(f"{name:<{width}}  {value:>10}" for name, value in self.table)


def storm(
    template: str,
    folder: Path,
    *,
    deliveries: int,
    kills: int,
    seed: int,
    connections: int,
    redis_database: int,
    after_kill: Callable[[Stack], None] = lambda stack: None,
    say: Callable[[str], None] = lambda line: None,
    check: Callable[[], None] = lambda: None,
) -> Outcome:
    """A storm on a copy of the empty, migrated database `template`; `after_kill` runs before the next worker starts.

    `check` is called all the time, and raises where the storm is to be left.
    """
    chance = random.Random(seed)
    with database_on(template) as url:
        stack = Stack(folder, url, *redis_urls(redis_database))
        try:
            say("making subscribers, and the sandbox's news of them")
            stories = _world(stack, genuine_of(deliveries), seed)
            course = course_of(stories, deliveries=deliveries, chance=chance)
            # Nobody is connected now.
            with database_on(urlsplit(url).path.lstrip("/")) as quiet:
                say("the same news on a quiet day")
                _quiet_day(stack, stories, quiet)
                say(f"the storm: {deliveries} deliveries")
                found = _blow(
                    stack, course, kills=kills, connections=connections, after_kill=after_kill, say=say, check=check
                )
                say("reading the books")
                return Outcome(found.table(stack, course, kills), _violations(stack, course, found.answered, quiet))
        finally:
            stack.stop()


@dataclass(frozen=True)
class _Blown:
    answered: Sequence[Answered]
    answered_seconds: float
    settled_seconds: float

    def table(self, stack: Stack, course: Course, kills: int) -> list[tuple[str, str]]:
        statuses = Counter(each.status for each in self.answered)
        applied = stack.one(APPLIED)
        return [
            ("deliveries", f"{len(course.sendings):,}"),
            ("accepted", f"{statuses[200]:,}"),
            ("duplicates", f"{course.repeated:,}"),
            ("out of order", f"{course.out_of_order:,}"),
            ("forged", f"{statuses[401]:,}"),
            ("applied", f"{applied:,}"),
            ("tried again", f"{stack.one(RETRIED):,}"),
            ("workers killed", f"{kills}"),
            ("answers p50", f"{quantile(self.answered, 0.5) * 1000:.1f} ms"),
            ("answers p99", f"{quantile(self.answered, 0.99) * 1000:.1f} ms"),
            ("answered in", f"{self.answered_seconds:.1f} s"),
            ("all applied in", f"{self.settled_seconds:.1f} s"),
        ]


def _world(stack: Stack, news: int, seed: int) -> list[list[str]]:
    stack.take_ports()
    stack.web("sandbox", stack.sandbox_port)
    stack.wait_until_ready(stack.sandbox_port)
    told = stack.run(
        "-m", "tests.live.storm.inside", "world", "--news", str(news), "--seed", str(seed), seconds=1800, **_NO_BROKER
    )
    stack.stop()
    stories: list[list[str]] = json.loads(told)
    return stories


#: Nudges of what happens before the storm go nowhere.
_NO_BROKER = {"CELERY_BROKER_URL": "memory://"}


def _quiet_day(stack: Stack, stories: list[list[str]], url: str) -> None:
    with tempfile.TemporaryFile("w+") as file:
        json.dump(stories, file)
        file.seek(0)
        done = subprocess.run(
            [sys.executable, "-m", "tests.live.storm.inside", "quiet"],
            cwd=ROOT,
            env=stack.env | _NO_BROKER | {"DATABASE_URL": url},
            stdin=file,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def _blow(
    stack: Stack,
    course: Course,
    *,
    kills: int,
    connections: int,
    after_kill: Callable[[Stack], None],
    say: Callable[[str], None],
    check: Callable[[], None],
) -> _Blown:
    def until(query: str, holds: Callable[[int], bool], what: str) -> None:
        def look() -> bool:
            check()
            return holds(stack.one(query))

        eventually(look, what, seconds=SETTLED_WITHIN)

    stack.web("sandbox", stack.sandbox_port)
    stack.web("web", stack.port)
    stack.worker("worker")
    stack.beat()
    stack.wait_until_ready()
    news = len(course.sendings) - course.repeated - course.forged
    sender = Sender(stack.port, SECRET, course.sendings, connections=connections)
    for number in range(1, kills + 1):
        wanted = news * number // (kills + 1)
        until(HANDLED, lambda count, wanted=wanted: count >= wanted, "work")
        stack.kill("worker")
        say(f"a worker is killed: {stack.one(HANDLED)} of {news} applied, {len(sender.answered)} deliveries answered")
        after_kill(stack)
        stack.worker("worker")
    sender.wait()
    say(f"answered; {stack.one(WAITING)} wait")
    until(WAITING, lambda count: count == 0, "all news to be applied")
    settled = time.monotonic()
    return _Blown(sender.answered, sender.ended - sender.started, settled - sender.started)


def _violations(stack: Stack, course: Course, answered: Sequence[Answered], quiet: str) -> list[str]:
    found: dict[str, list[str]] = {
        "a delivery without its answer": [],
        "an answer": [
            f"{each.status} to {each.sending.forgery or 'a genuine delivery'}"
            for each in answered
            if each.status != (401 if each.sending.forgery else 200)
        ],
        "news": differences(stack.database_url, quiet, NEWS),
        "a subscriber": differences(stack.database_url, quiet, SUBSCRIBERS),
        "a movement of money that is two": [str(row) for row in rows(stack.database_url, MONEY_KEYS)],
        "a forgery that was believed": [str(row[0]) for row in rows(stack.database_url, BELIEVED_FORGERIES)],
        "the books": _ledger_faults(stack),
    }
    if len(answered) != len(course.sendings):
        found["a delivery without its answer"].append(f"{len(answered)} of {len(course.sendings)}")
    rejected = stack.one("SELECT count(*) FROM webhook_events WHERE status = 'rejected'")
    if rejected != course.forged:
        found["a forgery that was believed"].append(f"{rejected} kept as rejected, {course.forged} sent")
    stored = stack.one("SELECT count(*) FROM webhook_events WHERE status <> 'rejected'")
    if stored != (news := len(course.sendings) - course.repeated - course.forged):
        found["news"].append(f"{stored} stored, {news} sent")
    return [f"{name}: {line}" for name, lines in found.items() for line in lines[:SHOWN]]


def _ledger_faults(stack: Stack) -> list[str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "ledger_check"],
        cwd=ROOT,
        env=os.environ | stack.env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return [] if done.returncode == 0 else [done.stdout + done.stderr]
