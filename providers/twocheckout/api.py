"""2Checkout's REST API 6.0: one signed call, and its answer with the time at which 2Checkout gave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

from payflow.core import clock
from payflow.core.http import Answer, HttpClient, MalformedAnswer, dump_json
from providers.base import AuthError, RequestRefused, Unavailable, UnknownReference
from providers.twocheckout.config import TwoCheckoutConfig
from providers.twocheckout.signature import API_ALGORITHMS, api_header
from providers.wire.answers import answered_at, call, raise_for


@dataclass(frozen=True, slots=True)
class Reply:
    """`at` is 2Checkout's own clock: whether a period has ended is asked of it, not of ours."""

    body: Any
    at: datetime


class Api:
    """Thread-safe. Raises what `providers.wire.answers` raises; an answer that cannot be read is Unavailable."""

    def __init__(self, name: str, settings: TwoCheckoutConfig) -> None:
        self._name = name
        self._settings = settings

    def get(self, path: str) -> Reply:
        return self.send("GET", path, idempotent=True)

    def get_object(self, path: str) -> tuple[Mapping[str, Any], datetime]:
        reply = self.get(path)
        if not isinstance(reply.body, dict):
            raise Unavailable(f"{self._name} answered something else than an object")
        return reply.body, reply.at

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, idempotent: bool) -> Reply:
        answer = self.answer(method, path, body, idempotent=idempotent)
        if not answer.ok:
            self._raise_for_code(answer)
            raise_for(answer, who=self._name)
        return Reply(self._read(answer), answered_at(answer))

    def do(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, idempotent: bool) -> None:
        """A call that is answered by true. Raises RequestRefused for a false."""
        if self.send(method, path, body, idempotent=idempotent).body is False:
            raise RequestRefused(f"{self._name} refused the request (false)")

    def answer(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, idempotent: bool) -> Answer:
        """The answer of whatever status. Raises AuthError, before any call, where nothing could sign it."""
        settings = self._settings
        if not settings.secret_key or not settings.merchant_is_sendable or settings.algorithm not in API_ALGORITHMS:
            raise AuthError(f"{self._name} has no usable merchant code or secret key (TWOCHECKOUT_*)")
        headers = {
            "X-Avangate-Authentication": api_header(
                merchant_code=settings.merchant_code,
                secret_key=settings.secret_key,
                algorithm=settings.algorithm,
                now=clock.wall(),
            ),
            "Accept": "application/json",
        }
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = dump_json(body)
        return call(self._http, method, path, headers=headers, content=content, idempotent=idempotent)

    @cached_property
    def _http(self) -> HttpClient:
        """Made at the first call: a TLS context costs a tenth of a second, which no other command should pay."""
        return HttpClient(self._name, self._settings.base_url, answer_seconds=self._settings.answer_seconds)

    def _read(self, answer: Answer) -> Any:
        if not answer.body.strip():
            return None
        try:
            return answer.json()
        except (MalformedAnswer, ArithmeticError, RecursionError) as error:  # the latter two: absurd numbers, depth
            raise Unavailable(f"{self._name} answered something else than JSON") from error

    def _raise_for_code(self, answer: Answer) -> None:
        """Its `error_code` is plainer than its status, which is 400 for most."""
        code = error_code(answer)
        if answer.status >= 500:
            return
        if code == "AUTHENTICATION_ERROR":
            raise AuthError(f"{self._name} does not accept our credentials ({answer.status})")
        if code.endswith("_NOT_FOUND"):
            raise UnknownReference(f"{self._name} does not know this reference ({answer.status})")


def error_code(answer: Answer) -> str:
    """The `error_code` of a refusal, or nothing."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    code = body.get("error_code") if isinstance(body, dict) else None
    return code if isinstance(code, str) and code.isascii() and len(code) <= 100 else ""


def order_path(reference: str) -> str:
    return f"/orders/{quote(reference, safe='')}/"


def subscription_path(reference: str) -> str:
    return f"/subscriptions/{quote(reference, safe='')}/"
