"""The provider's side of a storm: a few connections that deliver as fast as they are answered."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from providers.sandbox.signature import HEADER, TOLERANCE, sign
from tests.live.storm.course import Forgery, Sending

PATH = "/webhooks/sandbox"


@dataclass(frozen=True, slots=True)
class Answered:
    sending: Sending
    status: int
    seconds: float


class Sender:
    """`answered` grows while the storm goes on."""

    def __init__(self, port: int, secret: str, sendings: Sequence[Sending], *, connections: int) -> None:
        self.answered: list[Answered] = []
        self.started = time.monotonic()
        self.ended = self.started
        self._port, self._secret = port, secret
        self._queue, self._turn = iter(sendings), threading.Lock()
        self._pool = ThreadPoolExecutor(connections)
        self._threads: list[Future[None]] = [self._pool.submit(self._send_all) for _ in range(connections)]

    @property
    def is_done(self) -> bool:
        return all(thread.done() for thread in self._threads)

    def wait(self) -> None:
        """Until every delivery is answered. Raises what kept one from being answered."""
        self._pool.shutdown()
        for thread in self._threads:
            thread.result()

    def _send_all(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while (sending := self._next()) is not None:
            headers = {"Content-Type": "application/json", "User-Agent": "storm", **self._signature(sending)}
            since = time.monotonic()
            connection.request("POST", PATH, sending.body, headers)
            answer = connection.getresponse()
            answer.read()
            now = time.monotonic()
            self.answered.append(Answered(sending, answer.status, now - since))
            self.ended = max(self.ended, now)
        connection.close()

    def _next(self) -> Sending | None:
        with self._turn:
            return next(self._queue, None)

    def _signature(self, sending: Sending) -> dict[str, str]:
        if sending.forgery == Forgery.UNSIGNED:
            return {}
        secret = "a guess" if sending.forgery == Forgery.GUESSED else self._secret
        at = datetime.now(UTC)
        if sending.forgery == Forgery.STALE:
            at -= 2 * TOLERANCE
        return {HEADER: sign(secret, sending.signed, at)}


def quantile(answered: Sequence[Answered], share: float) -> float:
    """Seconds within which this share of the answers came."""
    ordered = sorted(each.seconds for each in answered)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
