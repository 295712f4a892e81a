"""Batches of usage, `POST /api/v1/usage/batch`: 5,000 fresh events of 1,000 users a call; beside it COPY of their log rows.

COPY writes `usage_logs` and nothing else, with the indexes and foreign keys that it has; a batch also reads and checks each
event, writes its key, and raises five counters for each action of a user.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection, transaction

from accounts.keys import PREFIX_LENGTH, digest_of, new_key
from accounts.models import ApiKey, User
from benchmarks.http import HttpSide, encode
from benchmarks.load import quantile
from benchmarks.workload import Bench, Sample, Side, Workload, WrongAnswer
from payflow.core import clock
from payflow.core.ids import uuid7
from plans.models import Plan
from subscriptions.models import Status, Subscription

EVENTS = 5000
USERS = 1000
NEVER_REACHED = 10**9
ACTIONS = ("translations", "summaries")
#: The supply for the load generator: more than it can send, for each second.
CALLS_A_SECOND = 15
#: `HttpSide` asks for so many requests for each second.
ASKED_A_SECOND = 6000
#: How much COPY writes for each second of the measurement, by all its connections.
COPIES_A_SECOND = 8

COPY = """
COPY usage_logs (id, user_id, subscription_id, action, content_id, quantity, event_id, metadata, occurred_at, created_at)
FROM STDIN
"""
FOUND = """
SELECT (SELECT count(*) FROM usage_logs), (SELECT count(*) FROM usage_events),
       (SELECT coalesce(sum(used), 0) FROM usage_counters WHERE action = '*' AND "window" = 'month')
"""


@dataclass(frozen=True)
class BatchSide:
    """Operations are events; p50 and p99 are those of a call."""

    name: str
    http: HttpSide

    def measure(self, bench: Bench, seconds: float) -> Sample:
        sample = self.http.measure(bench, seconds)
        return replace(sample, operations=sample.operations * EVENTS)


@dataclass(frozen=True)
class CopySide:
    """As many connections as the web server has workers, each COPYing 5,000 ready-made rows a transaction."""

    name: str
    people: Sequence[tuple[UUID, UUID]]

    def measure(self, bench: Bench, seconds: float) -> Sample:
        copies = max(bench.options.workers, int(seconds * COPIES_A_SECOND))
        shares = [range(number, copies, bench.options.workers) for number in range(bench.options.workers)]
        work = [[_rows(self.people, number) for number in share] for share in shares]
        latencies: list[float] = []
        failures: list[BaseException] = []
        threads = [threading.Thread(target=_copy, args=(share, latencies, failures)) for share in work]
        before, cpu, start = bench.cpu(), time.process_time(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
        used = {part: now - before[part] for part, now in bench.cpu().items() if part in before}
        if failures:
            raise WrongAnswer(f"{self.name}: {failures[0]}") from failures[0]
        _check_and_empty(copies * EVENTS, 0, self.name)
        latencies.sort()
        return Sample(
            operations=copies * EVENTS,
            seconds=elapsed,
            p50=quantile(latencies, 0.5),
            p99=quantile(latencies, 0.99),
            cpu={**used, "load": cpu},
        )


class UsageBatch(Workload):
    name = "usage_batch"
    what = "POST /api/v1/usage/batch, 5,000 fresh events of 1,000 users a call, beside COPY of the same rows into usage_logs"
    target = 0.35

    def prepare(self, bench: Bench) -> None:
        self._people = _make_people(bench.options.users, clock.now())
        self._key = new_key()
        ApiKey.objects.create(
            name="benchmark", scopes=["usage"], prefix=self._key[:PREFIX_LENGTH], digest=digest_of(self._key)
        )
        self._number = itertools.count(1)

    def sides(self) -> Sequence[Side]:
        http = HttpSide(
            "batch",
            self._requests,
            once=True,
            contains=f'"accepted":{EVENTS},"duplicates":0,"refused":0',
            verify=lambda answers: _check_and_empty(answers * EVENTS, answers * EVENTS, "batch"),
        )
        return [BatchSide("batch", http), CopySide("COPY", self._people)]

    def _requests(self, count: int) -> Iterator[bytes]:
        for _ in range(max(2, count * CALLS_A_SECOND // ASKED_A_SECOND)):
            events = [
                {
                    "user_id": str(user_id),
                    "action": action,
                    "content_id": content_id,
                    "event_id": event_id,
                    "occurred_at": occurred_at.isoformat(),
                }
                for _, user_id, _, action, content_id, _, event_id, _, occurred_at, _ in _rows(
                    self._people, next(self._number)
                )
            ]
            body = json.dumps({"events": events}, separators=(",", ":")).encode()
            yield encode("POST", "/api/v1/usage/batch", headers={"X-API-Key": self._key}, body=body)


def _make_people(count: int, now: datetime) -> list[tuple[UUID, UUID]]:
    """Subscribers of one plan, with the same limits, which nobody reaches however long it runs: (user, subscription)."""
    plan = Plan.objects.create(
        code="benchmark-usage",
        name="Benchmark",
        price="9.99",
        currency="USD",
        billing_cycle="monthly",
        features={f"{action}_per_day": NEVER_REACHED for action in ACTIONS},
        max_usage_per_day=NEVER_REACHED,
        max_usage_per_month=NEVER_REACHED,
    )
    users = [User(email=f"meter{n}@benchmark.invalid", password="!") for n in range(count)]
    end = now + timedelta(days=20)
    subscriptions = [
        Subscription(
            user=user,
            plan=plan,
            family=plan.family,
            status=Status.ACTIVE,
            provider="lava",
            start_date=now - timedelta(days=10),
            anchor=now - timedelta(days=10),
            current_period_start=now - timedelta(days=10),
            end_date=end,
            next_action_at=end,
            amount=plan.price,
            currency=plan.currency,
            billing_cycle=plan.billing_cycle,
        )
        for user in users
    ]
    with transaction.atomic():
        User.objects.bulk_create(users, batch_size=1000)
        Subscription.objects.bulk_create(subscriptions, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE usage_logs, usage_events, usage_counters")
        cursor.execute("VACUUM (ANALYZE)")
    return [(subscription.user_id, subscription.pk) for subscription in subscriptions]


def _rows(people: Sequence[tuple[UUID, UUID]], number: int) -> list[tuple[Any, ...]]:
    """The log rows of one batch, its users one after the other, each for every action in turn; of the last minute."""
    now = datetime.now(UTC)
    rows = []
    for n in range(EVENTS):
        user_id, subscription_id = people[(number * USERS + n % USERS) % len(people)]
        action = ACTIONS[n // USERS % len(ACTIONS)]
        occurred_at = now - timedelta(milliseconds=n * 10)
        rows.append((uuid7(), user_id, subscription_id, action, f"page-{n}", 1, str(uuid7()), None, occurred_at, now))
    return rows


def _copy(batches: Sequence[Sequence[tuple[Any, ...]]], latencies: list[float], failures: list[BaseException]) -> None:
    try:
        with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as own:
            for rows in batches:
                start = time.perf_counter()
                with own.transaction(), own.cursor().copy(COPY) as copy:
                    for row in rows:
                        copy.write_row(row)
                latencies.append(time.perf_counter() - start)
    except BaseException as error:  # noqa: BLE001 - whoever joins the thread raises it
        failures.append(error)


def _check_and_empty(logged: int, counted: int, name: str) -> None:
    """Raises WrongAnswer. Rows of counters stay, as those of a month and of ever do in life."""
    with connection.cursor() as cursor:
        cursor.execute(FOUND)
        found = tuple(map(int, cursor.fetchone()))
        if found != (logged, counted, counted):
            raise WrongAnswer(f"{name}: log rows, event keys, units: {found}, where {logged} were sent")
        cursor.execute("TRUNCATE usage_logs, usage_events")
        cursor.execute("UPDATE usage_counters SET used = 0")
        cursor.execute("VACUUM usage_counters")


WORKLOAD = UsageBatch()
