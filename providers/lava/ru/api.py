"""The Business API of lava.ru: one signed POST, and what its envelope holds.

`Signature` is hex(HMAC_SHA256(the shop's secret key, the body's very bytes)). The answer is
`{"data": …, "status": 200, "status_check": true}`; a refusal says so there, whatever its HTTP status is.
Source: providers.md 1.1 and 1.5 (LavaDevelop/lava-sdk).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from payflow.core.http import Answer, HttpClient, dump_json
from providers.base import AuthError, Unavailable
from providers.lava.ru.config import LavaRuConfig
from providers.wire.answers import answered_at, call, raise_for, read_answer

INVOICE_CREATE = "/business/invoice/create"
INVOICE_STATUS = "/business/invoice/status"
REFUND = "/business/invoice/refund"
REFUND_STATUS = "/business/invoice/get-refund-status"
CONSUMER_CREATE = "/business/recurrent/consumer/create"
SUBSCRIBE = "/business/recurrent/subscription/subscribe"
SUBSCRIPTION_STATUS = "/business/recurrent/subscription/status"
UNSUBSCRIBE = "/business/recurrent/subscription/unsubscribe"


@dataclass(frozen=True, slots=True)
class Reply:
    """`at` is Lava's own clock."""

    data: Mapping[str, Any]
    at: datetime


class RuApi:
    """Thread-safe. Raises what `providers.wire.answers` raises, and Unavailable for an answer that cannot be read."""

    def __init__(self, name: str, settings: LavaRuConfig) -> None:
        self._name = name
        self._settings = settings

    def ask(self, path: str, fields: Mapping[str, Any]) -> Reply:
        """A question: it may be sent again."""
        return self._post(path, fields, idempotent=True)

    def do(self, path: str, fields: Mapping[str, Any]) -> Reply:
        """What makes or moves something, and is never sent again by itself."""
        return self._post(path, fields, idempotent=False)

    def _post(self, path: str, fields: Mapping[str, Any], *, idempotent: bool) -> Reply:
        settings = self._settings
        if not settings.can_call:
            raise AuthError(f"{self._name} has no shop id or secret key (LAVA_SHOP_ID, LAVA_SECRET_KEY)")
        content = dump_json({**fields, "shopId": settings.shop_id})
        signed = hmac.new(settings.secret_key.encode(), content, hashlib.sha256).hexdigest()
        headers = {"Signature": signed, "Content-Type": "application/json", "Accept": "application/json"}
        answer = call(self._http, "POST", path, headers=headers, content=content, idempotent=idempotent)
        raise_for(answer, who=self._name)
        return Reply(self._data(answer), answered_at(answer))

    def _data(self, answer: Answer) -> Mapping[str, Any]:
        body = read_answer(answer, who=self._name)
        if body.get("status_check") is False:
            status = body.get("status")
            meant = status if isinstance(status, int) and 400 <= status < 600 else 400
            raise_for(replace(answer, status=meant), who=self._name)
        data = body.get("data")
        if not isinstance(data, dict):
            raise Unavailable(f"{self._name} answered without data")
        return data

    @cached_property
    def _http(self) -> HttpClient:
        """Made at the first call: a TLS context costs a tenth of a second, which no other command should pay."""
        return HttpClient(self._name, self._settings.base_url, answer_seconds=self._settings.answer_seconds)
