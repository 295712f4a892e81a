"""Processes that run a sweep until nothing is due, as Celery's workers would, each with a connection of its own.

`sweep_all` starts them one after the other, lets each warm up on rows of its own, then all go at once. One process is

    python -m benchmarks.sweepers MODULE:FUNCTION --warm MOMENT --now MOMENT --most ROWS

which says `ready`, waits for a line, and answers with one line of JSON. FUNCTION gives the `SweepRun`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

#: No sweep of a benchmark takes longer; one that does will not end.
LIMIT_SECONDS = 3600
#: More than anybody warms up with.
WARM_MOST = 1000


class SweepFailed(Exception):
    """A process ended, or took more rows than there are."""


@dataclass(frozen=True)
class Swept:
    """What all processes did together. Times in seconds, `peak` in bytes: of the largest of them, over its whole life."""

    rows: int
    seconds: float
    batches: Sequence[float]
    cpu: float
    peak: float


def sweep_all(
    target: str,
    *,
    now: datetime,
    warm: Sequence[datetime],
    most: int,
    log: Path,
    environment: Mapping[str, str],
    on_go: Callable[[], None] = lambda: None,
) -> Swept:
    """One process for each moment of `warm`, at which only what it warms up with is due.

    `on_go` is called when all are ready. Raises SweepFailed with the end of their log.
    """
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w+b"))
        processes = []
        try:
            for moment in warm:
                processes.append(_start(target, moment, now, most, output, environment))
            on_go()
            for process in processes:
                _tell(process)
            reports = [_hear(process) for process in processes]
        except (SweepFailed, OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise SweepFailed(f"{target}: {error}\n{log.read_text(errors='replace')[-4000:]}") from error
        finally:
            for process in processes:
                process.kill()
                process.wait()
    return Swept(
        rows=sum(report["rows"] for report in reports),
        seconds=max(report["ended"] for report in reports) - min(report["started"] for report in reports),
        batches=sorted(seconds for report in reports for seconds in report["batches"]),
        cpu=sum(report["cpu"] for report in reports),
        peak=max(report["peak"] for report in reports),
    )


def _start(
    target: str, warm: datetime, now: datetime, most: int, output: Any, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "benchmarks.sweepers", target, "--warm", warm.isoformat(), "--now", now.isoformat()]
    process = subprocess.Popen(
        [*argv, "--most", str(most)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=output,
        env={**os.environ, **environment},
    )
    assert process.stdout
    if process.stdout.readline() != b"ready\n":
        process.kill()
        process.wait()
        raise SweepFailed("it did not get ready")
    return process


def _tell(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.write(b"go\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    answer, _ = process.communicate(timeout=LIMIT_SECONDS)
    if process.returncode != 0:
        raise SweepFailed(f"it ended with status {process.returncode}")
    report: dict[str, Any] = json.loads(answer)
    return report


# --- in the process -------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--warm", type=datetime.fromisoformat, required=True)
    parser.add_argument("--now", type=datetime.fromisoformat, required=True)
    parser.add_argument("--most", type=int, required=True)
    given = parser.parse_args(arguments)

    import django  # after the settings' name is in the environment, which the parent gives

    from payflow.celery import keep_what_is_loaded

    django.setup()
    module, _, function = given.target.partition(":")
    run = getattr(import_module(module), function)()
    keep_what_is_loaded()
    _until_nothing_is_due(run, given.warm, WARM_MOST)
    gc.collect()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return 1  # whoever started us is gone
    cpu, started = time.process_time(), time.monotonic()
    rows, batches = _until_nothing_is_due(run, given.now, given.most)
    ended, cpu = time.monotonic(), time.process_time() - cpu
    report = {"rows": rows, "batches": batches, "started": started, "ended": ended, "cpu": cpu, "peak": _peak()}
    print(json.dumps(report), flush=True)
    return 0


def _until_nothing_is_due(run: Any, now: datetime, most: int) -> tuple[int, list[float]]:
    from payflow.core import clock

    rows, batches = 0, []
    while True:
        started = time.monotonic()
        taken = run(now=now, wall=clock.wall())
        if not taken:
            return rows, batches
        rows += taken
        batches.append(time.monotonic() - started)
        if rows > most:
            raise SweepFailed(f"took {rows} rows where {most} were due")


def _peak() -> float:
    """Bytes. Of this program alone: `ru_maxrss` would begin with what the parent had when it forked."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return float("nan")
    return int(found[1]) * 1024.0 if found else float("nan")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
