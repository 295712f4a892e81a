"""Refunds at lava.ru, which has no key by which a refund is made once, and no list of them (`Caps.unkeyed_refunds`).

Whoever sent a refund remembers it by its key, so that the same call again asks for what it became. This memory is the
process's own; that no other process sends it again, the core sees to.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

from payflow.core.money import Money
from providers.base import MalformedError, ProviderError, RefundResult, RequestRefused, Unavailable
from providers.lava.ru import api
from providers.lava.ru.api import RuApi
from providers.lava.ru.config import CURRENCY
from providers.wire.fields import amount_of, optional_text, usable_text

SUCCEEDED = frozenset({"success", "completed"})
FAILED = frozenset({"error", "fail", "failed", "cancel", "rejected"})
#: So many keys are remembered, the newest.
MEMORY = 10_000

log = logging.getLogger(__name__)


class Refunds:
    """Thread-safe."""

    def __init__(self, name: str, wire: RuApi) -> None:
        self._name = name
        self._api = wire
        self._lock = threading.Lock()
        #: Lava's id of the refund that was sent under a key; None while nobody knows whether there is one.
        self._sent: OrderedDict[str, str | None] = OrderedDict()

    def make(
        self, *, invoice: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        """Raises RequestRefused above the rest; Unavailable where the answer was lost, and then for each repetition."""
        if currency != CURRENCY:
            raise RequestRefused(f"{self._name} refunds in {CURRENCY} only")
        fields: dict[str, Any] = {"invoiceId": invoice, "description": reason[:200] or idempotency_key}
        if amount is not None:
            fields["amount"] = Money(amount, currency).amount
        if self._begin(idempotency_key):
            return self._became(idempotency_key, amount)
        try:
            data = self._api.do(api.REFUND, fields).data
        except ProviderError as error:
            if not error.may_be_done:
                self._forget(idempotency_key)
            raise
        return self._taken(data, amount, idempotency_key)

    def find(self, refund: str, amount: Decimal | None = None) -> RefundResult:
        """What became of a refund that Lava has named; `amount` where it does not say how much. Raises UnknownReference."""
        data = self._api.ask(api.REFUND_STATUS, {"refund_id": refund}).data
        return self._result(data, refund, amount)

    def _begin(self, key: str) -> bool:
        """True where this refund was sent before."""
        with self._lock:
            if key in self._sent:
                return True
            self._sent[key] = None
            while len(self._sent) > MEMORY:
                self._sent.popitem(last=False)
            return False

    def _forget(self, key: str) -> None:
        with self._lock:
            self._sent.pop(key, None)

    def _became(self, key: str, amount: Decimal | None) -> RefundResult:
        with self._lock:
            refund = self._sent.get(key)
        if refund is None:
            raise Unavailable(f"{self._name} may have made this refund: look it up in Lava's cabinet")
        return self.find(refund, amount)

    def _taken(self, data: Mapping[str, Any], amount: Decimal | None, key: str) -> RefundResult:
        refund = usable_text(data.get("refund_id"), 100)
        if refund is None:
            raise Unavailable(f"{self._name} named no refund")
        with self._lock:
            self._sent[key] = refund
        result = self._result(data, refund, amount)
        if result.status == "pending":  # most are through by the next question
            with suppress(ProviderError):  # its id is known, and must not be lost for want of a second answer
                return self.find(refund, amount)
        return result

    def _result(self, data: Mapping[str, Any], refund: str, amount: Decimal | None) -> RefundResult:
        word = (optional_text(data, "status", 40) or "").lower()
        status: Literal["succeeded", "pending", "failed"] = (
            "succeeded" if word in SUCCEEDED else "failed" if word in FAILED else "pending"
        )
        try:
            told = None if data.get("amount") is None else amount_of(data["amount"])
        except MalformedError as error:
            raise Unavailable(f"{self._name} shows a refund that cannot be read") from error
        log.info("lava: refund %s is %s", refund, status)
        return RefundResult(status, refund, told if told is not None else amount)
