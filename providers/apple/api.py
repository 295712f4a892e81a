"""The App Store Server API: Apple's client for paths, parameters and the signed token, our own for every byte that is sent.

What comes back is either the answer or an error of the contract; what the answer's signed parts say is proven elsewhere.
Source: providers.md 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from appstoreserverlibrary.api_client import AppStoreServerAPIClient, GetTransactionHistoryVersion
from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.models.LastTransactionsItem import LastTransactionsItem
from appstoreserverlibrary.models.NotificationHistoryRequest import NotificationHistoryRequest
from appstoreserverlibrary.models.TransactionHistoryRequest import Order, ProductType, TransactionHistoryRequest

from payflow.core.http import Answer, HttpClient, dump_json
from providers.apple.config import SANDBOX, AppleConfig
from providers.apple.verification import UNREADABLE
from providers.base import AuthError, ProviderError, RequestRefused, Unavailable
from providers.wire.answers import call, raise_for, read_answer

#: Apple keeps notifications this long, less an hour for clocks that differ.
KEPT = timedelta(days=180) - timedelta(hours=1)
#: 20 rows each: more pages than anybody's subscription or half a year of a busy app has.
MAX_PAGES = 50_000
#: Error codes under 404: "try again", and "not your app".
_LATER = frozenset({4040002, 4040004, 4040006})
_NOT_OURS = frozenset({4040003})

T = TypeVar("T")


class AppleApi:
    """One environment's API. Raises what `providers.wire.answers` raises; an answer that can't be read is Unavailable."""

    def __init__(self, name: str, settings: AppleConfig, environment: str) -> None:
        self._name = name
        http = HttpClient(name, settings.base_urls[environment], answer_seconds=settings.answer_seconds)
        try:
            self._client = _Client(http, settings, environment)
        except (ValueError, TypeError):
            raise AuthError(f"{name} has no usable private key (APPLE_PRIVATE_KEY)") from None

    def statuses(self, transaction_id: str) -> list[LastTransactionsItem]:
        """The newest transaction of every subscription of the customer who has this one."""
        answer = self._ask(lambda: self._client.get_all_subscription_statuses(quote(transaction_id, safe="")))
        if answer.data is None:  # not the same as having none: that would end a subscription
            raise Unavailable(f"{self._name} answered without the subscriptions")
        return [item for group in answer.data for item in group.lastTransactions or []]

    def transactions(self, transaction_id: str) -> Iterator[str]:
        """Every subscription transaction of the customer, each a JWS. All of them: a refund may be of an old one."""
        wanted = TransactionHistoryRequest(sort=Order.ASCENDING, productTypes=[ProductType.AUTO_RENEWABLE])
        revision: str | None = None
        for _ in range(MAX_PAGES):
            page = self._ask(
                lambda revision=revision: self._client.get_transaction_history(  # type: ignore[misc]
                    quote(transaction_id, safe=""), revision, wanted, GetTransactionHistoryVersion.V2
                )
            )
            yield from page.signedTransactions or []
            if self._is_last(page.hasMore):
                return
            revision = self._next(revision, page.revision)
        raise Unavailable(f"{self._name} gave pages without an end")

    def notifications(self, *, since: datetime, until: datetime, transaction_id: str | None = None) -> Iterator[str]:
        """The signedPayload of each notification, delivered or not; of one customer where `transaction_id` is his."""
        wanted = NotificationHistoryRequest(
            startDate=_milliseconds(max(since, until - KEPT)),
            endDate=_milliseconds(until),
            transactionId=transaction_id,
            onlyFailures=False,
        )
        token: str | None = None
        for _ in range(MAX_PAGES):
            page = self._ask(
                lambda token=token: self._client.get_notification_history(token, wanted)  # type: ignore[misc]
            )
            for row in page.notificationHistory or []:
                if row.signedPayload:
                    yield row.signedPayload
            if self._is_last(page.hasMore):
                return
            token = self._next(token, page.paginationToken)
        raise Unavailable(f"{self._name} gave pages without an end")

    def _ask(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except ProviderError:
            raise
        except UNREADABLE:
            raise Unavailable(f"{self._name} answered something else than it documents") from None

    def _is_last(self, has_more: bool | None) -> bool:
        """Raises Unavailable where the page does not say: half a list is not taken for all of it."""
        if has_more is None:
            raise Unavailable(f"{self._name} answered something else than a page")
        return not has_more

    def _next(self, before: str | None, after: str | None) -> str:
        """The next page's token. Raises Unavailable where there is none."""
        if not after or after == before:
            raise Unavailable(f"{self._name} has more pages and does not say where")
        return after


class _Client(AppStoreServerAPIClient):
    """Apple's client, sending through ours."""

    def __init__(self, http: HttpClient, settings: AppleConfig, environment: str) -> None:
        """Raises ValueError or TypeError where the key is not one."""
        super().__init__(
            settings.private_key.encode(),
            settings.key_id,
            settings.issuer_id,
            settings.bundle_id,
            Environment.SANDBOX if environment == SANDBOX else Environment.PRODUCTION,
        )
        self._http = http

    def _get_full_url(self, path: str) -> str:
        """The path alone: where it leads is the setting's to say."""
        return path

    def _execute_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str],
        json: Mapping[str, Any] | None,
        data: bytes | None,
    ) -> Any:
        """Raises what is not 2xx as the contract's error, so that the library's own never arises."""
        path = f"{url}?{urlencode(params, doseq=True)}" if params else url
        sent = {**headers, "Content-Type": "application/json"} if json is not None else headers
        content = dump_json(json) if json is not None else data
        # Every call here reads, whatever its method.
        answer = call(self._http, method, path, headers=sent, content=content, idempotent=True)
        _raise_for(answer, who=self._http.system)
        return _Response(answer, self._http.system)


@dataclass(frozen=True, slots=True)
class _Response:
    """An answer in the shape that the library reads."""

    answer: Answer
    system: str

    @property
    def status_code(self) -> int:
        return self.answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.answer.headers

    def json(self) -> dict[str, Any]:
        return read_answer(self.answer, who=self.system)


def _raise_for(answer: Answer, *, who: str) -> None:
    """404 has several meanings at Apple, and only some of them are that the purchase does not exist."""
    if answer.status == 404:
        code = read_answer(answer, who=who).get("errorCode") if answer.body else None
        if code in _LATER:
            raise Unavailable(f"{who} asks to try again ({code})")
        if code in _NOT_OURS:
            raise RequestRefused(f"{who} does not know our app ({code})")
    raise_for(answer, who=who)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
