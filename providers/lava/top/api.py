"""The API of lava.top: one call with X-Api-Key, and its answer with the time at which lava.top gave it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

from payflow.core.http import Answer, HttpClient, dump_json
from providers.base import AuthError
from providers.lava.top.config import LavaTopConfig
from providers.wire.answers import answered_at, call, raise_for, read_answer

INVOICE = "/api/v3/invoice"
INVOICES = "/api/v2/invoices"
SUBSCRIPTIONS = "/api/v1/subscriptions"
#: How many of the newest invoices are looked through for an order of ours.
PAGE = 50


class TopApi:
    """Thread-safe. Raises what `providers.wire.answers` raises."""

    def __init__(self, name: str, settings: LavaTopConfig) -> None:
        self._name = name
        self._settings = settings

    def create(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return read_answer(self._call("POST", INVOICE, body), who=self._name)

    def invoice(self, contract: str) -> tuple[Mapping[str, Any], datetime]:
        return self._object(f"{INVOICES}/{quote(contract, safe='')}")

    def subscription(self, contract: str) -> tuple[Mapping[str, Any], datetime]:
        return self._object(f"{SUBSCRIPTIONS}/{quote(contract, safe='')}")

    def newest_invoices(self) -> list[Mapping[str, Any]]:
        """Of every status: without a filter lava.top shows completed ones only."""
        statuses = [("invoiceStatuses", status) for status in ("NEW", "IN_PROGRESS", "COMPLETED", "FAILED")]
        found, _ = self._object(f"{INVOICES}?{urlencode([('page', 1), ('size', PAGE), *statuses])}")
        items = found.get("items")
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []

    def cancel(self, contract: str, email: str) -> None:
        self._call("DELETE", f"{SUBSCRIPTIONS}?{urlencode({'contractId': contract, 'email': email})}")

    def _object(self, path: str) -> tuple[Mapping[str, Any], datetime]:
        answer = self._call("GET", path)
        return read_answer(answer, who=self._name), answered_at(answer)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        if not self._settings.api_key_is_sendable:
            raise AuthError(f"{self._name} has no usable API key (LAVA_API_KEY)")
        headers = {"X-Api-Key": self._settings.api_key, "Accept": "application/json"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = dump_json(body)
        answer = call(self._http, method, path, headers=headers, content=content, idempotent=method != "POST")
        raise_for(answer, who=self._name)
        return answer

    @cached_property
    def _http(self) -> HttpClient:
        """Made at the first call: a TLS context costs a tenth of a second, which no other command should pay."""
        return HttpClient(self._name, self._settings.base_url, answer_seconds=self._settings.answer_seconds)
