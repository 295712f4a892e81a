"""A foreign system's answer to our call, turned into the contract's errors (C04). Its own words are never repeated."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from payflow.core import clock
from payflow.core.http import Answer, HttpClient, MalformedAnswer, NoAnswer
from providers.base import AuthError, ProviderError, RateLimited, RequestRefused, Unavailable, UnknownReference


def call(
    http: HttpClient,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    idempotent: bool,
    shown: str | None = None,
) -> Answer:
    """One call; an answer of any status is an answer. Raises Unavailable where there is none, ProviderError where it is
    too large to be one."""
    try:
        return http.request(method, path, headers=headers, content=content, idempotent=idempotent, shown=shown)
    except NoAnswer as error:
        raise Unavailable(f"{http.system} did not answer", may_be_done=error.sent) from error
    except MalformedAnswer as error:
        raise ProviderError(f"{http.system} gave an unusable answer") from error


def raise_for(answer: Answer, *, who: str) -> None:
    """Raises what a status that is not 2xx means; `who` is the provider's name."""
    status = answer.status
    if answer.ok:
        return
    if status in (401, 403):
        raise AuthError(f"{who} does not accept our credentials ({status})")
    if status == 404:
        raise UnknownReference(f"{who} does not know this reference (404)")
    if status == 429:
        raise RateLimited(f"{who} asks for fewer calls (429)", retry_after=retry_after(answer))
    if 400 <= status < 500 and status != 408:
        raise RequestRefused(f"{who} refused the request ({status})")
    # 5xx; a redirect too, which is never followed: nobody knows what was done.
    raise Unavailable(f"{who} could not answer ({status})")


def retry_after(answer: Answer) -> int | None:
    """The seconds of Retry-After; its other form, a date, is not worth a clock here."""
    value = answer.headers.get("retry-after", "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 6 else None


def read_answer(answer: Answer, *, who: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises Unavailable where it is none: then nobody knows what was done."""
    try:
        body = answer.json()
    except (MalformedAnswer, ArithmeticError, RecursionError) as error:  # the latter two: absurd numbers, depth
        raise Unavailable(f"{who} answered something else than JSON") from error
    if not isinstance(body, dict):
        raise Unavailable(f"{who} answered something else than an object")
    return body


def answered_at(answer: Answer) -> datetime:
    """The moment of its Date header: the system's own clock, to which its dates belong. Without one it is real time."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, OverflowError):
        return clock.wall()
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
