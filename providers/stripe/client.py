"""Stripe's official library over our HTTP client, and its errors in the contract's words.

The library gives the requests their form and their API version; timeouts, retries, the breaker and redirects are ours.
It makes no try of its own, sends no telemetry, and logs nothing below a warning: its debug lines hold whole requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import stripe

from payflow.core import clock
from payflow.core.http import Answer, HttpClient
from providers.base import (
    AuthError,
    ProviderError,
    RateLimited,
    RequestRefused,
    Unavailable,
    UnknownReference,
)
from providers.stripe.config import StripeConfig
from providers.wire.answers import call, retry_after

#: A charge that got no answer is asked for, not sent again at once.
SENT_ONCE = "/v1/payment_intents"
KEPT_HEADERS = frozenset(
    {"authorization", "content-type", "idempotency-key", "stripe-version", "stripe-account", "user-agent"}
)
PAGE = 100
#: Lists longer than this are not read to their end while somebody waits.
MAX_PAGES = 100

Json = dict[str, Any]

stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)


class Declined(ProviderError):
    """402: the payment was refused. `error` is Stripe's error object."""

    def __init__(self, error: Json) -> None:
        super().__init__("Stripe declined the payment (402)")
        self.error = error


class StripeApi:
    """Calls Stripe; answers are plain dicts. Raises what `_raise_for` says, Declined, Unavailable."""

    def __init__(self, name: str, settings: StripeConfig) -> None:
        self._name = name
        self._settings = settings

    def ask(self, request: Callable[[stripe.StripeClient], Any]) -> Json:
        return self.ask_dated(request)[0]

    def ask_dated(self, request: Callable[[stripe.StripeClient], Any]) -> tuple[Json, datetime]:
        """The answer and Stripe's own time of it."""
        try:
            found = request(self._client)
        except stripe.StripeError as error:
            refusal = self._translated(error)
        else:
            if not isinstance(found, stripe.StripeObject):
                raise Unavailable(f"{self._name} answered something else than an object")
            return found.to_dict(), _date(found.last_response.headers if found.last_response else {})
        # Outside of the block, so that it carries no context: the library's texts repeat Stripe's, which may name people.
        raise refusal

    def pages(self, request: Callable[[stripe.StripeClient, Any], Any], **params: Any) -> Iterator[Json]:
        """Every object of a list, newest first. Raises Unavailable where it has no end within reason."""
        after: Json = {}
        for _ in range(MAX_PAGES):
            page = self.ask(lambda client, after=after: request(client, {**params, "limit": PAGE, **after}))  # type: ignore[misc]
            data = [item for item in page.get("data") or [] if isinstance(item, dict)]
            yield from data
            if not page.get("has_more") or not data:
                return
            after = {"starting_after": data[-1]["id"]}
        raise Unavailable(f"{self._name} has a longer list than can be read")

    @cached_property
    def _client(self) -> stripe.StripeClient:
        """Made at the first call: a TLS context costs a tenth of a second, which no other command should pay."""
        if not self._settings.key_is_sendable:
            raise AuthError(f"{self._name} has no usable secret key (STRIPE_SECRET_KEY)")
        base_url = self._settings.base_url.rstrip("/")
        return stripe.StripeClient(
            self._settings.secret_key,
            base_addresses={"api": base_url},
            http_client=_Transport(HttpClient(self._name, base_url, answer_seconds=self._settings.answer_seconds)),
            max_network_retries=0,
        )

    def _translated(self, error: stripe.StripeError) -> ProviderError:
        body = error.json_body.get("error") if isinstance(error.json_body, dict) else None
        details: Json = body if isinstance(body, dict) else {}
        return _error(self._name, error.http_status, error.headers or {}, details)


class _Transport(stripe.HTTPClient):
    """The library's way to the network: ours. Redirects and 5xx come back as answers, silence as Unavailable."""

    name = "payflow"

    def __init__(self, http: HttpClient) -> None:
        super().__init__()
        self._http = http

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        sent = {name: value for name, value in (headers or {}).items() if name.lower() in KEPT_HEADERS}
        path = url.removeprefix(self._http.base_url)
        content = post_data.encode() if isinstance(post_data, str) else post_data
        # Every POST has its key at Stripe; what is deleted is gone the second time too.
        again = not (method.upper() == "POST" and path == SENT_ONCE)
        answer = call(self._http, method.upper(), path, headers=sent, content=content, idempotent=again)
        if not 200 <= answer.status < 600:
            raise Unavailable(f"{self._http.system} could not answer ({answer.status})")
        # The library raises for a status, but not from a body that it cannot read.
        return answer.body.decode("utf-8", "replace"), answer.status, answer.headers

    def close(self) -> None:
        """The connections are the HTTP client's own."""


def _error(who: str, status: int | None, headers: Mapping[str, str], error: Json) -> ProviderError:
    """The contract's error for Stripe's status and error object (C04).

    A key in use, and a key that had other parameters, say that an earlier call under it may have been done: unknown.
    """
    code, kind = error.get("code"), error.get("type")
    if code == "idempotency_key_in_use" or kind == "idempotency_error":
        return Unavailable(f"{who} has seen this key before and tells no outcome")
    if status == 402:
        return Declined(error)
    if status in (401, 403):
        return AuthError(f"{who} does not accept our credentials ({status})")
    if code == "resource_missing" or status == 404:
        return UnknownReference(f"{who} does not know this reference ({status})")
    if status == 429:
        return RateLimited(
            f"{who} asks for fewer calls (429)", retry_after=retry_after(Answer(429, _lowered(headers), b""))
        )
    if status is not None and 400 <= status < 500 and status != 408:
        return RequestRefused(f"{who} refused the request ({status})")
    return Unavailable(f"{who} could not answer ({status})")


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _date(headers: Mapping[str, str]) -> datetime:
    """Stripe's time of an answer; ours where it gives none."""
    try:
        found = parsedate_to_datetime(_lowered(headers).get("date", ""))
    except ValueError:
        return clock.wall()
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
