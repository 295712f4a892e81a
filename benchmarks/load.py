"""The load generator, a process of its own: keep-alive connections, each sending its next request when it has its answer.

Standard library only, requests encoded beforehand: what it costs (`cpu_seconds`) is taken from the same cores as the
server's work, so it must be small, and it is reported. Run by `benchmarks.http`:

    python -m benchmarks.load PORT --connections 16 --seconds 5 FILE   → one line of JSON
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HEAD_END = b"\r\n\r\n"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ANSWER_LIMIT = 30.0
#: After so many wrong answers the rest would be no measurement.
WRONG_LIMIT = 20


class Connection:
    __slots__ = ("received", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        # Blocking, read only when readable: a request of half a megabyte is sent whole.
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self.received = b""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--once", action="store_true", help="send no request twice: end when they are used up")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--contains", default="", help="what every right answer contains")
    given = parser.parse_args()
    report = generate(
        given.port,
        read_requests(given.file),
        connections=given.connections,
        seconds=given.seconds,
        once=given.once,
        expected=(str(given.status).encode(), given.contains.encode()),
    )
    print(json.dumps(report))
    return 0


def generate(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    once: bool,
    expected: tuple[bytes, bytes],
) -> dict[str, Any]:
    """Loads the server for `seconds` and waits for the last answers, which count too."""
    status, contains = expected
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    queue = iter(requests) if once else forever(requests)
    clock, selector = time.perf_counter, selectors.DefaultSelector()
    waiting = 0
    gc.disable()
    cpu, start = time.process_time(), clock()
    for _ in range(connections):
        connection = Connection(port)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        waiting += send_next(connection, queue, clock())
    end = clock() + seconds
    while waiting:
        ready = selector.select(ANSWER_LIMIT)
        if not ready:
            raise SystemExit(f"no answer for {ANSWER_LIMIT:.0f} s")
        for key, _ in ready:
            connection = key.data
            answer = receive(connection)
            if not answer:
                continue
            now = clock()
            waiting -= 1
            latencies.append(now - connection.sent_at)
            if answer[9:12] != status or contains not in answer:
                wrong.append(answer[:600].decode(errors="replace"))
            statuses[answer[9:12].decode()] += 1
            if now < end and len(wrong) < WRONG_LIMIT:
                waiting += send_next(connection, queue, now)
    elapsed, cpu = clock() - start, time.process_time() - cpu
    latencies.sort()
    return {
        "operations": len(latencies),
        "seconds": elapsed,
        "cpu_seconds": cpu,
        "p50": quantile(latencies, 0.5),
        "p99": quantile(latencies, 0.99),
        "statuses": statuses,
        "wrong": len(wrong),
        "first_wrong": wrong[0] if wrong else None,
    }


def send_next(connection: Connection, queue: Iterator[bytes], now: float) -> int:
    """1, or 0 where there is no more."""
    request = next(queue, None)
    if request is None:
        return 0
    connection.sent_at = now
    connection.socket.sendall(request)
    return 1


def receive(connection: Connection) -> bytes:
    """The whole answer, or b"" while some of it is still to come."""
    part = connection.socket.recv(65536)
    if not part:
        raise SystemExit("the server closed a connection: " + repr(connection.received[:600]))
    data = connection.received + part if connection.received else part
    head = data.find(HEAD_END)
    if head >= 0:
        length = CONTENT_LENGTH.search(data, 0, head)
        if length is None:
            raise SystemExit("an answer without Content-Length: " + repr(data[:600]))
        if len(data) >= head + len(HEAD_END) + int(length[1]):
            connection.received = b""
            return data
    connection.received = data
    return b""


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def forever(requests: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def write_requests(path: Path, requests: Iterable[bytes]) -> None:
    """Each with its length before it."""
    with path.open("wb") as file:
        for request in requests:
            file.write(struct.pack("!I", len(request)) + request)


def read_requests(path: Path) -> list[bytes]:
    data, requests, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("!I", data, at)
        requests.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return requests


if __name__ == "__main__":
    sys.exit(main())
