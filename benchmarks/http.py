"""A side that is measured over HTTP, by the load generator in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.load import write_requests
from benchmarks.workload import Bench, Sample, WrongAnswer

#: More than any server here answers, so that time ends a round and not the supply of new requests.
MOST_PER_SECOND = 6000
#: What the generator gets beyond its time: to read the requests, and for the last answers.
MARGIN_SECONDS = 60


@dataclass(frozen=True)
class HttpSide:
    """`requests(count)` gives encoded requests: the same ones again and again, or with `once` new ones at every call."""

    name: str
    requests: Callable[[int], Iterable[bytes]]
    once: bool = False
    contains: str = ""
    status: int = 200
    #: Is told how many answers came, and raises WrongAnswer where the server's tables don't agree.
    verify: Callable[[int], None] = lambda answers: None

    def measure(self, bench: Bench, seconds: float) -> Sample:
        path = bench.folder / "requests"
        write_requests(path, self.requests(max(1, int(seconds * MOST_PER_SECOND))))
        before = bench.cpu()
        report = self._load(bench, [str(path), "--seconds", str(seconds)])
        used = {part: now - before[part] for part, now in bench.cpu().items() if part in before}
        if report["wrong"]:
            raise WrongAnswer(f"{self.name}: {report['wrong']} wrong answers, the first:\n{report['first_wrong']}")
        self.verify(report["operations"])
        return Sample(
            operations=report["operations"],
            seconds=report["seconds"],
            p50=report["p50"],
            p99=report["p99"],
            cpu={**used, "load": report["cpu_seconds"]},
        )

    def _load(self, bench: Bench, arguments: list[str]) -> dict[str, Any]:
        argv = [sys.executable, "-m", "benchmarks.load", str(bench.port), *arguments]
        argv += ["--connections", str(bench.options.connections), "--contains", self.contains]
        argv += ["--status", str(self.status)]
        argv += ["--once"] if self.once else []
        limit = bench.options.seconds + MARGIN_SECONDS
        done = subprocess.run(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=limit, check=False)
        if done.returncode != 0:
            raise WrongAnswer(f"{self.name}: the load generator gave up (status {done.returncode})")
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def encode(method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """A request as it goes over the wire, with the headers that any client sends."""
    lines = {"Host": "127.0.0.1", "User-Agent": "payflow-benchmark", "Accept": "*/*", **(headers or {})}
    if body:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
