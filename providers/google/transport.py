"""google-auth's requests over our HTTP client, and Google's certificates, kept as long as Google says."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from google.auth import transport
from google.auth.exceptions import TransportError

from payflow.core.http import HttpClient, MalformedAnswer, NoAnswer

#: Where the answer does not say how long it holds.
CERTS_SECONDS = 3600
#: However long it says: a key that Google withdraws is believed for a day at most.
MAX_CERTS_SECONDS = 24 * 3600
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?([0-9]{1,9})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Response(transport.Response):
    """What google-auth reads of an answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Transport(transport.Request):
    """Thread-safe. Raises TransportError where there is no usable answer."""

    def __init__(self, system: str, *, answer_seconds: float) -> None:
        self._system = system
        self._answer_seconds = answer_seconds
        self._clients: dict[str, HttpClient] = {}
        self._lock = threading.Lock()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Response:
        """`timeout` is the client's own. What is asked here (a token, certificates) may be asked again."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            client = self._client(f"{parts.scheme}://{parts.netloc}")
            answer = client.request(method, path, headers=headers, content=body, idempotent=True)
        except (NoAnswer, MalformedAnswer) as error:
            raise _no_answer(f"{self._system} did not answer") from error
        return Response(answer.status, answer.headers, answer.body)

    def _client(self, origin: str) -> HttpClient:
        with self._lock:
            if origin not in self._clients:
                self._clients[origin] = HttpClient(self._system, origin, answer_seconds=self._answer_seconds)
            return self._clients[origin]


class Certificates(transport.Request):
    """Downloads Google's certificates once for as long as they hold: google-auth asks at every token.

    Threads that need them at the same time wait for one download.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._kept: Response | None = None
        self._until = 0.0

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Response:
        with self._lock:
            if self._kept is not None and time.monotonic() < self._until:
                return self._kept
            response = self._inner(url, method=method)
            if response.status != 200 or not _is_map(response.data):
                raise _no_answer("there are no certificates")
            self._kept, self._until = response, time.monotonic() + _seconds(response.headers)
            return response


def _no_answer(message: str) -> TransportError:
    error: TransportError = TransportError(message)  # type: ignore[no-untyped-call]  # the library is not typed in full
    return error


def _seconds(headers: Mapping[str, str]) -> int:
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    return min(int(found[1]), MAX_CERTS_SECONDS) if found else CERTS_SECONDS


def _is_map(data: bytes) -> bool:
    """{key id: certificate}. Anything else is no answer of Google's: nobody's signature is wrong because of it."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value) and all(isinstance(pem, str) for pem in value.values())
