"""`python -m benchmarks [workload …]`: starts everything, measures each workload's sides in turn, prints tables."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before anything of PayFlow's: importing its package makes the Celery application.
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

import django
from celery import current_app
from django.core.management import call_command
from django.db import connection

from benchmarks import report, workloads
from benchmarks.profiling import profile
from benchmarks.servers import Servers, running
from benchmarks.workload import Bench, Options, Sample, Workload, WrongAnswer
from payflow.embedded.console import Problem, complain, say, show
from payflow.embedded.processes import StopRequested


def main(arguments: Sequence[str]) -> int:
    given = _parse(arguments)
    options = Options(**{name: getattr(given, name) for name in vars(Options())})
    folder = Path(tempfile.mkdtemp(prefix="payflow-benchmark-", dir=_disk()))
    try:
        with running(folder) as servers:
            _prepare_database(servers)
            results = _run(servers, given.workloads or workloads.names(), options, profiled=given.profile)
    except StopRequested:
        say("interrupted")
        return 130
    except Problem as problem:
        complain(problem)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2, default=str) + "\n")
    return 0


def _run(servers: Servers, names: Sequence[str], options: Options, *, profiled: bool) -> dict[str, Any]:
    """Raises Problem where the server does something else than is measured."""
    chosen: list[Workload] = [workloads.module(name).WORKLOAD for name in names]
    web = any(workload.needs_web for workload in chosen)
    port = servers.start_web(workers=options.workers, threads=options.threads) if web else 0
    bench = Bench(port, servers.state.path, options, servers.cpu)
    environment = report.environment(servers.state.path, options, web=web)
    show(report.environment_text(environment))
    results: dict[str, Any] = {"environment": environment, "workloads": []}
    for workload in chosen:
        try:
            say(f"{workload.name}: making data")
            workload.prepare(bench)
            if profiled:
                profile(workload)
                continue
            found = report.summary_of_all(
                workload, _measure(workload, bench, servers), scaled=bool(workload.scales(options))
            )
        except WrongAnswer as error:
            raise Problem(f"{error}\n{servers.end_of_web_log()}") from error
        show(f"\n{report.summary_text(found)}\n")
        results["workloads"].append(found)
    show(f"load average at the end: {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    return results


def _measure(workload: Workload, bench: Bench, servers: Servers) -> dict[float, report.Samples]:
    """By amount, which is seconds or a scale; by side; by round.

    The sides take turns, in reversed order every second round: what drifts meanwhile meets all of them alike.
    """
    sides, scales = workload.sides(), workload.scales(bench.options)
    amounts: Sequence[float] = scales or [bench.options.seconds]
    samples: dict[float, dict[str, list[Sample]]] = {amount: {side.name: [] for side in sides} for amount in amounts}
    for side in sides if bench.options.warmup and not scales else ():
        say(f"{workload.name}: warming up {side.name}")
        side.measure(bench, bench.options.warmup)
    for number in range(min(bench.options.rounds, workload.most_rounds or bench.options.rounds)):
        for side in sides if number % 2 == 0 else reversed(sides):
            for amount in amounts:
                servers.signals.check()
                sample = side.measure(bench, amount)
                samples[amount][side.name].append(sample)
                of = f" {amount:,}" if scales else ""
                say(f"{workload.name}{of}: round {number + 1}, {side.name}: {sample.rate:.0f}/s")
    return samples


def _prepare_database(servers: Servers) -> None:
    """Raises Problem for servers that hold anything: the workloads fill tables, and empty them and the queue."""
    os.environ.update(servers.environment)
    django.setup()
    if connection.introspection.table_names():
        raise Problem("DATABASE_URL names a database with tables in it: benchmarks want an empty one of their own")
    with current_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        if channel.queue_declare("celery", durable=True).message_count:
            raise Problem("there are messages in the Celery queue: benchmarks want a Redis of their own")
    say("migrating")
    call_command("migrate", verbosity=0, interactive=False, skip_checks=True)


def _disk() -> str | None:
    """/tmp is memory on many machines, and fsync on memory costs nothing."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else None


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    default = Options()
    parser = argparse.ArgumentParser(prog="./benchmarks/run", description="See docs/benchmarks.md")
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"all of: {', '.join(workloads.names())}")
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--seconds", type=float, default=default.seconds, help="each side in each round")
    parser.add_argument("--warmup", type=float, default=default.warmup, help="seconds for each side, not counted")
    parser.add_argument("--connections", type=int, default=default.connections)
    parser.add_argument("--users", type=int, default=default.users)
    parser.add_argument("--workers", type=int, default=default.workers, help="of the web server; processes that sweep")
    parser.add_argument("--threads", type=int, default=default.threads, help="of each worker")
    parser.add_argument(
        "--scales", type=_scales, default=default.scales, metavar="N,N,…", help="how many renewals are due at once"
    )
    parser.add_argument(
        "--rows", type=_scales, default=default.rows, metavar="N,N,…", help="how many rows the usage log has"
    )
    parser.add_argument("--others", type=int, default=default.others, help="subscriptions that are not due")
    parser.add_argument("--batch", type=int, default=default.batch, help="rows a sweep takes at once (SWEEP_BATCH)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--profile", action="store_true", help="no load: where the time of one request goes")
    given = parser.parse_args(arguments)
    if unknown := set(given.workloads) - set(workloads.names()):
        parser.error(f"there is no workload {', '.join(sorted(unknown))}")
    return given


def _scales(text: str) -> tuple[int, ...]:
    """Different sizes, smallest first. Raises ValueError."""
    return tuple(sorted({int(part) for part in text.split(",")}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
