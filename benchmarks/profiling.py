"""Where the time of a request goes: the application called in this process, without server, sockets or load.

The figures are CPU and waiting of one thread; cProfile makes small functions look dearer than they are, so trust the
order, and the time without it.
"""

from __future__ import annotations

import cProfile
import io
import itertools
import pstats
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks.http import HttpSide
from benchmarks.workload import Workload, WrongAnswer
from payflow.embedded.console import show

REQUESTS = 2000
BATCH = 50
SHOWN = 45


def profile(workload: Workload) -> None:
    """Prints, for each HTTP side, the time of a request and the dearest functions."""
    from benchmarks.wsgi import application  # makes the application: Django must be set up

    for side in workload.sides():
        if not isinstance(side, HttpSide):
            continue
        requests = itertools.cycle(list(side.requests(3 * REQUESTS)))
        _call(application, side.status, itertools.islice(requests, BATCH))
        wall, cpu = _lowest(application, side.status, requests)
        show(f"\n=== {workload.name}, {side.name}: {wall:.0f} µs a request at best, CPU here {cpu:.0f} µs")
        profiler = cProfile.Profile()
        profiler.runcall(_call, application, side.status, itertools.islice(requests, REQUESTS // 2))
        for order in ("cumulative", "tottime"):
            output = io.StringIO()
            pstats.Stats(profiler, stream=output).strip_dirs().sort_stats(order).print_stats(SHOWN)
            show(output.getvalue())


def _lowest(application: Callable[..., Iterable[bytes]], status: int, requests: Iterator[bytes]) -> tuple[float, float]:
    """Microseconds a request, wall and CPU: the best batch is the one that other programs disturbed least."""
    walls, cpus = [], []
    for _ in range(REQUESTS // BATCH):
        cpu, wall = time.process_time(), time.perf_counter()
        _call(application, status, itertools.islice(requests, BATCH))
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    return min(walls) / BATCH * 1e6, min(cpus) / BATCH * 1e6


def _call(application: Callable[..., Iterable[bytes]], status: int, requests: Iterable[bytes]) -> None:
    for request in requests:
        answer: list[str] = []
        body = b"".join(application(_environ(request), lambda line, headers, out=answer: out.append(line)))
        if not answer[0].startswith(f"{status} "):
            raise WrongAnswer(f"{answer}: {body[:600]!r}")


def _environ(request: bytes) -> dict[str, Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
    }
    for line in lines:
        name, _, value = line.partition(": ")
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return environ
