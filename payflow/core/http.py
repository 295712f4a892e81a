"""The one HTTP client: every call to a foreign system goes through it.

Timeouts always, retries for idempotent calls only, no redirects, capped answers, a circuit breaker per system, redacted
logs, and never inside a database transaction. An answer of any status is an answer; no answer is `NoAnswer`, which says
whether the request can have been sent: what may have been sent is *unknown*, not failed.
"""

from __future__ import annotations

import functools
import json
import logging
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import httpx
import stamina

from payflow.core.locks import assert_no_transaction

MAX_ANSWER_BYTES = 2 * 1024 * 1024
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
#: After this many calls without an answer in a row a system is left alone for a while.
BREAKER_FAILURES = 8
BREAKER_SECONDS = 20

log = logging.getLogger(__name__)


class NoAnswer(Exception):
    """The system did not answer. `sent` is False only where the request certainly never left (refused, breaker open)."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class MalformedAnswer(Exception):
    """The answer is not what its content type promises, or too large. Its text is not repeated here."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, its numbers exact (Decimal). Raises MalformedAnswer."""
        try:
            return json.loads(self.body, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, ArithmeticError, RecursionError) as error:  # 1e999…9 overflows a Decimal
            raise MalformedAnswer("the answer is not JSON") from error


def dump_json(value: Any) -> bytes:
    """Compact JSON whose Decimals are numbers with their digits kept (6.90 stays 6.90). Raises ValueError for a NaN."""
    return _exact_json(value).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python would read NaN and Infinity as floats


def _exact_json(value: Any) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is not JSON")
        return format(value, "f")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(str(k))}:{_exact_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_exact_json(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@functools.cache
def _trust() -> ssl.SSLContext:
    """One for all clients of the process: reading the certificates of the world's authorities costs 35 ms and a megabyte."""
    return httpx.create_ssl_context(trust_env=False)


class _Breaker:
    """Counts calls without an answer in a row; from BREAKER_FAILURES on, one call may try every BREAKER_SECONDS.

    pybreaker holds its lock during the call, so that calls to one system would wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0

    def enter(self) -> bool:
        """May a call be made now?"""
        with self._lock:
            if self._failures >= BREAKER_FAILURES:
                if time.monotonic() < self._closed_until:
                    return False
                self._closed_until = time.monotonic() + BREAKER_SECONDS  # the others wait for this one's outcome
            return True

    def note(self, *, answered: bool) -> None:
        with self._lock:
            self._failures = 0 if answered else self._failures + 1
            self._closed_until = time.monotonic() + BREAKER_SECONDS


class HttpClient:
    """Calls one foreign system. Thread-safe; keep one per configured provider."""

    def __init__(self, system: str, base_url: str, *, answer_seconds: float = ANSWER_SECONDS, tries: int = 3) -> None:
        self.system = system
        self.base_url = base_url.rstrip("/")
        self._tries = tries
        self._answer_seconds = answer_seconds
        self._client = httpx.Client(
            timeout=httpx.Timeout(answer_seconds, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,  # a proxy of the environment would get our credentials
            verify=_trust(),
        )
        self._breaker = _Breaker()

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        idempotent: bool,
        shown: str | None = None,
    ) -> Answer:
        """One call. `idempotent` calls are tried again when there is no answer or a 502, 503 or 504.

        `shown` stands in the log for a path that has a secret in it.

        Raises NoAnswer, MalformedAnswer (too large), RuntimeError inside a database transaction.
        """
        assert_no_transaction(f"HTTP to {self.system}")
        if not idempotent:
            return self._guarded(method, path, headers, content, shown)
        sent = False
        for attempt in stamina.retry_context(
            on=NoAnswer, attempts=self._tries, wait_initial=0.1, wait_max=1.0, timeout=None
        ):
            with attempt:
                try:
                    answer = self._guarded(method, path, headers, content, shown)
                    if answer.status in (502, 503, 504) and attempt.num < self._tries:
                        raise NoAnswer(f"{self.system} answered {answer.status}", sent=True)
                except NoAnswer as error:
                    error.sent = sent = error.sent or sent  # an earlier try may have arrived
                    raise
        return answer

    def _guarded(
        self, method: str, path: str, headers: Mapping[str, str] | None, content: bytes | None, shown: str | None
    ) -> Answer:
        if not self._breaker.enter():
            raise NoAnswer(f"{self.system} is left alone for a while", sent=False)
        try:
            answer = self._send(method, path, headers, content, shown)
        except NoAnswer:
            self._breaker.note(answered=False)
            raise
        self._breaker.note(answered=True)
        return answer

    def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None, content: bytes | None, shown: str | None
    ) -> Answer:
        started = time.monotonic()
        try:
            with self._client.stream(
                method, f"{self.base_url}{path}", headers=dict(headers or {}), content=content
            ) as response:
                chunks, size, late_at = [], 0, time.monotonic() + self._answer_seconds
                for chunk in response.iter_bytes():
                    size += len(chunk)
                    if size > MAX_ANSWER_BYTES:
                        raise MalformedAnswer("the answer is too large")
                    if time.monotonic() > late_at:  # httpx limits the pauses between bytes, not their sum
                        raise NoAnswer(f"{self.system} did not finish its answer", sent=True)
                    chunks.append(chunk)
                answer = Answer(response.status_code, dict(response.headers), b"".join(chunks))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NoAnswer(f"{self.system} cannot be reached", sent=False) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(f"{self.system} did not answer ({type(error).__name__})", sent=True) from error
        # The path alone: queries, bodies and headers carry secrets and personal data.
        bare = shown or path.partition("?")[0]
        log.info("%s %s %s -> %s in %.3f s", self.system, method, bare, answer.status, time.monotonic() - started)
        return answer
