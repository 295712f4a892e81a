"""Calls of the Play Developer API, as the service account. Raises what `providers.wire.answers` raises.

Purchase tokens are secrets: whoever has one can ask about the purchase. The log gets the paths without them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.oauth2.service_account import Credentials

from payflow.core import clock
from payflow.core.http import Answer, HttpClient, dump_json
from providers.base import AuthError, MalformedError, Unavailable, UnknownReference
from providers.google.config import GoogleConfig
from providers.google.records import Order, Purchase, read_order, read_purchase
from providers.google.transport import Transport
from providers.wire.answers import call, raise_for, read_answer

#: Both refunded purchases of subscriptions and of one-time products; without it the latter only.
SUBSCRIPTIONS_TOO = "1"

Record = TypeVar("Record")


class PlayApi:
    """Thread-safe: one per configured provider."""

    def __init__(self, name: str, config: GoogleConfig, transport: Transport) -> None:
        self._name = name
        self._config = config
        self._transport = transport
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None

    def purchase(self, token: str) -> Purchase:
        """Raises UnknownReference, also 60 days after its end, when Google forgets it."""
        answer = self._call("GET", "purchases/subscriptionsv2/tokens/", token)
        return self._read(answer, lambda body: read_purchase(token, body, read_at=_told_at(answer)))

    def order(self, order_id: str) -> Order:
        return self._read(self._call("GET", "orders/", order_id), read_order)

    def stop_renewing(self, token: str) -> None:
        """At the end of the period; the subscriber can take it back."""
        context = {"cancellationContext": {"cancellationType": "USER_REQUESTED_STOP_RENEWALS"}}
        self._call("POST", "purchases/subscriptionsv2/tokens/", token, ":cancel", context)

    def revoke(self, token: str) -> None:
        """Ends it now; Google gives back the part of the last payment that is not used."""
        context: dict[str, Any] = {"revocationContext": {"proratedRefund": {}}}
        self._call("POST", "purchases/subscriptionsv2/tokens/", token, ":revoke", context)

    def acknowledge(self, product_id: str, token: str) -> None:
        part = f"purchases/subscriptions/{quote(product_id, safe='')}/tokens/"
        self._call("POST", part, token, ":acknowledge", {})

    def refund(self, order_id: str) -> None:
        """The whole order; the subscription itself is left as it is."""
        self._call("POST", "orders/", order_id, ":refund?revoke=false", {})

    def voided(self, *, since: datetime, until: datetime | None) -> Iterator[Mapping[str, Any]]:
        """The purchases of all kinds that were refunded, cancelled or charged back in that time, page by page."""
        query = {"type": SUBSCRIPTIONS_TOO, "startTime": str(_milliseconds(since))}
        if until is not None:
            query["endTime"] = str(_milliseconds(until))
        while True:
            answer = self._call("GET", "purchases/voidedpurchases", query=query)
            body = read_answer(answer, who=self._name)
            found = body.get("voidedPurchases") or []
            if not isinstance(found, list):
                raise Unavailable(f"{self._name} answered no list")
            yield from (each for each in found if isinstance(each, dict))
            page = body.get("tokenPagination")
            following = page.get("nextPageToken") if isinstance(page, dict) else None
            if not isinstance(following, str) or not following or following == query.get("token"):
                return
            query["token"] = following

    # the wire

    @cached_property
    def _http(self) -> HttpClient:
        """Made at the first call: a TLS context costs a tenth of a second, which no other command should pay."""
        return HttpClient(self._name, self._config.base_url, answer_seconds=self._config.answer_seconds)

    def _call(
        self,
        method: str,
        part: str,
        secret: str = "",
        action: str = "",
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call of the app's; `secret` is the token or order in its path. A POST is not tried again by itself."""
        base = f"/androidpublisher/v3/applications/{quote(self._config.package_name, safe='')}/{part}"
        path = f"{base}{quote(secret, safe='')}{action}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self._access_token()}"}
        content = None
        if body is not None:
            headers["Content-Type"], content = "application/json", dump_json(body)
        answer = call(
            self._http,
            method,
            path,
            headers=headers,
            content=content,
            idempotent=method == "GET",
            shown=f"{base}{'…' if secret else ''}{action}",
        )
        if answer.status == 401:
            with self._lock:
                self._credentials = None  # withdrawn before its time: the next call asks for another
        if answer.status == 410:
            raise UnknownReference(f"{self._name} does not know this reference any more (410)")
        raise_for(answer, who=self._name)
        return answer

    def _access_token(self) -> str:
        """Raises AuthError where Google or the key itself refuses, Unavailable where nobody answers."""
        with self._lock:
            if self._credentials is None:
                try:
                    self._credentials = self._config.credentials()
                except ValueError:
                    raise AuthError(
                        f"{self._name} has no usable service account (GOOGLE_PLAY_SERVICE_ACCOUNT)"
                    ) from None
            if not self._credentials.valid:
                self._refresh(self._credentials)
            return str(self._credentials.token)

    def _refresh(self, credentials: Credentials) -> None:
        try:
            credentials.refresh(self._transport)  # type: ignore[no-untyped-call]  # the library is not typed
        except TransportError as error:
            raise Unavailable(f"{self._name} gave no access token") from error
        except RefreshError as error:  # its text is Google's answer: not kept
            if error.retryable:
                raise Unavailable(f"{self._name} gave no access token") from None
            raise AuthError(f"{self._name} does not accept the service account") from None
        except (GoogleAuthError, ValueError, TypeError, KeyError):  # an answer that is not the documented object
            raise Unavailable(f"{self._name} gave no access token") from None

    def _read(self, answer: Answer, reader: Callable[[Mapping[str, Any]], Record]) -> Record:
        """Raises Unavailable for what is not the documented record: nothing is known then, and nothing changes."""
        body = read_answer(answer, who=self._name)
        try:
            return reader(body)
        except MalformedError as error:
            raise Unavailable(f"{self._name} answered something else than documented: {error}") from error


def _told_at(answer: Answer) -> datetime:
    """Google's time of its answer; ours where it tells none."""
    try:
        told = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return clock.wall()
    return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
