"""Renewals: so many subscriptions due at the same minute, among many that are not; beside it SQL that writes their rows.

The world is made once and only moves on: each measurement renews one group at its next due minute, a month after its
last. The group of each size has a day of the month of its own, and each process a minute with a few people before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from benchmarks.load import quantile
from benchmarks.people import Group, people_make
from benchmarks.renewals import raw
from benchmarks.renewals.books import Expected, count_rows, move_on, verify
from benchmarks.sweepers import SweepFailed, sweep_all
from benchmarks.workload import Bench, Options, Sample, Side, Workload, WrongAnswer
from payflow.core.registry import SweepRun, registered
from subscriptions.periods import period_at

#: Long past: no clock of today's comes near, whatever else the database holds.
EPOCH = datetime(2015, 1, 1, 9, tzinfo=UTC)
#: Whom a process warms up with, an hour before.
WARM_UP = 25
#: Who is not due has paid for so many years, and subscribed in the last days before the first group is due.
YEARS = 10
OTHERS_SINCE = datetime(2015, 1, 10, tzinfo=UTC)
OTHERS_MINUTES = 20 * 24 * 60
#: A good batch for sets of rows; the product's own is in its settings.
RAW_BATCH = 500


def product() -> SweepRun:
    """Whatever stands behind the registered sweep."""
    return registered.sweeps["subscriptions_due"].run


def baseline() -> SweepRun:
    return raw.sweep(settings.SWEEP_BATCH if "SWEEP_BATCH" in os.environ else RAW_BATCH)


@dataclass(frozen=True)
class SweepSide:
    name: str
    #: Gives, in the process that sweeps, what is run there.
    target: Callable[[], SweepRun]
    calendar: Calendar

    def measure(self, bench: Bench, amount: float) -> Sample:
        size = int(amount)
        due = self.calendar.next_month(size)
        options = bench.options
        environment = {"SWEEP_BATCH": str(options.batch)} if options.batch else {}
        before: dict[str, int] = {}
        cpu: dict[str, float] = {}
        wal: list[int] = []

        def on_go() -> None:
            before.update(count_rows())
            wal.append(_wal_position())
            cpu.update(bench.cpu())

        try:
            swept = sweep_all(
                f"{__name__}:{self.target.__name__}",
                now=due.due,
                warm=[warm_up(due.due, number) for number in range(options.workers)],
                most=size,
                log=bench.folder / "sweepers.log",
                environment=environment,
                on_go=on_go,
            )
        except SweepFailed as error:
            raise WrongAnswer(f"{self.name}, {size:,}: {error}") from error
        used = {part: now - cpu[part] for part, now in bench.cpu().items() if part in cpu}
        written = _wal_position() - wal[0]
        verify(due, before)
        move_on()
        return Sample(
            operations=size,
            seconds=swept.seconds,
            p50=quantile(swept.batches, 0.5),
            p99=quantile(swept.batches, 0.99),
            cpu={**used, "workers": swept.cpu},
            notes={"peak MB": swept.peak / 1e6, "WAL kB each": written / size / 1000},
        )


@dataclass
class Calendar:
    """The due minute of each group: its day of the month, and how many months it has lived."""

    sizes: Sequence[int]
    months: dict[int, int] = field(default_factory=dict)

    def anchor(self, size: int) -> datetime:
        return EPOCH + timedelta(days=self.sizes.index(size))

    def next_month(self, size: int) -> Expected:
        self.months[size] = month = self.months.get(size, 0) + 1
        period = period_at(self.anchor(size), "monthly", month)
        return Expected(size, period.start, period.end)


def warm_up(due: datetime, process: int) -> datetime:
    """When those are due with whom a process warms up: after the people of the processes before it."""
    return due - timedelta(minutes=60 - process)


class Renewals(Workload):
    name = "renewals"
    what = "subscriptions due at the same minute, renewed by the registered sweep, beside SQL that writes the same rows"
    target_rate = 1500
    needs_web = False

    def scales(self, options: Options) -> Sequence[int]:
        return options.scales

    def prepare(self, bench: Bench) -> None:
        options = bench.options
        self._calendar = Calendar(options.scales)
        groups = []
        for size in options.scales:
            anchor = self._calendar.anchor(size)
            groups.append(Group(size, anchor))
            groups += [Group(WARM_UP, warm_up(anchor, number)) for number in range(options.workers)]
        groups.append(Group(options.others, OTHERS_SINCE, "yearly", YEARS, OTHERS_MINUTES))
        people_make(groups)

    def sides(self) -> Sequence[Side]:
        return [SweepSide("product", product, self._calendar), SweepSide("raw SQL", baseline, self._calendar)]


def _wal_position() -> int:
    """Bytes of log written so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(cursor.fetchone()[0])


WORKLOAD = Renewals()
