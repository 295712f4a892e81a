"""Reading the sandbox's deliveries: authentic bytes in, neutral events out; anything undocumented is MalformedError."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from payflow.core.money import CURRENCIES, MAX_DIGITS, MAX_SCALE
from providers.base import EventType, MalformedError, ProviderEvent, StoredMethod

_MONEY = {
    "payment.succeeded": EventType.PAYMENT_SUCCEEDED,
    "payment.failed": EventType.PAYMENT_FAILED,
    "payment.refunded": EventType.PAYMENT_REFUNDED,
    "payment.disputed": EventType.PAYMENT_DISPUTED,
    "payment.dispute_lost": EventType.PAYMENT_DISPUTE_LOST,
    "payment.dispute_won": EventType.PAYMENT_DISPUTE_WON,
}
#: What takes back a payment has an id of its own, and names that payment.
_REVERSALS = {
    EventType.PAYMENT_REFUNDED: "refund_id",
    EventType.PAYMENT_DISPUTED: "dispute_id",
    EventType.PAYMENT_DISPUTE_LOST: "dispute_id",
    EventType.PAYMENT_DISPUTE_WON: "dispute_id",
}
_COMPLETED = "checkout.completed"
#: NUL and lone surrogates are JSON, but not PostgreSQL's text.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Envelope:
    id: str
    type: str
    created_at: datetime
    data: dict[str, Any]


def read_key(raw_body: bytes) -> str:
    """The event's id: the same at every redelivery."""
    return _envelope(raw_body).id


def parse_delivery(provider: str, raw_body: bytes) -> list[ProviderEvent]:
    """One event per delivery; none for a type that we don't know. Raises MalformedError."""
    event = _envelope(raw_body)
    if event.type == _COMPLETED:
        return [_completed(provider, event)]
    if event.type in _MONEY:
        return [_money(provider, event, _MONEY[event.type])]
    log.info("%s sent an event of an unknown type", provider)
    return []


def _completed(provider: str, event: _Envelope) -> ProviderEvent:
    """A trial's checkout: the method, and no money."""
    data = event.data
    return ProviderEvent(
        provider=provider,
        event_id=f"{event.id}#0",
        type=EventType.SUBSCRIPTION_ACTIVATED,
        occurred_at=event.created_at,
        order_ref=_required(data, "order_ref"),
        idempotency_key=_optional(data, "idempotency_key"),
        user_ref=_optional(data, "user_ref"),
        plan_ref=_optional(data, "plan_ref"),
        method=_method(data),
        raw=data,
    )


def _money(provider: str, event: _Envelope, type_: EventType) -> ProviderEvent:
    data = event.data
    payment = _required(data, "payment_id")
    own_id = _REVERSALS.get(type_)
    return ProviderEvent(
        provider=provider,
        event_id=f"{event.id}#0",
        type=type_,
        occurred_at=event.created_at,
        provider_payment_id=_required(data, own_id) if own_id else payment,
        parent_payment_id=payment if own_id else None,
        order_ref=_optional(data, "order_ref"),
        idempotency_key=_optional(data, "idempotency_key"),
        user_ref=_optional(data, "user_ref"),
        plan_ref=_optional(data, "plan_ref"),
        amount=_amount(data),
        currency=_currency(data),
        reason=_optional(data, "reason") if own_id else _optional(data, "code"),
        recoverable=data.get("recoverable") is not False,
        method=_method(data),
        raw=data,
    )


def _envelope(raw_body: bytes) -> _Envelope:
    try:
        parsed = json.loads(raw_body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise MalformedError("the delivery is not JSON") from error
    data = parsed.get("data") if isinstance(parsed, dict) else None
    if not isinstance(data, dict):
        raise MalformedError("the delivery has no data")
    return _Envelope(_required(parsed, "id"), _required(parsed, "type"), _moment(_required(parsed, "created_at")), data)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise MalformedError("created_at has no zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError("created_at is not a time") from error


def _required(fields: Mapping[str, Any], name: str) -> str:
    value = _optional(fields, name)
    if value is None:
        raise MalformedError(f"{name} is missing")
    return value


def _optional(fields: Mapping[str, Any], name: str) -> str | None:
    """A text, or None where it is absent, null or empty."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 255 or _UNSTORABLE.search(value):
        raise MalformedError(f"{name} is not a text")
    return value


def _amount(data: Mapping[str, Any]) -> Decimal:
    try:
        amount = Decimal(_required(data, "amount"))
    except InvalidOperation as error:
        raise MalformedError("amount is not a number") from error
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_SCALE or not 0 < amount < 10 ** (MAX_DIGITS - MAX_SCALE):
        raise MalformedError("amount is not an amount")
    return amount


def _currency(data: Mapping[str, Any]) -> str:
    currency = _required(data, "currency")
    if currency not in CURRENCIES:
        raise MalformedError("currency is not an ISO 4217 code")
    return currency


def _method(data: Mapping[str, Any]) -> StoredMethod | None:
    method = data.get("method")
    if method is None:
        return None
    if not isinstance(method, dict):
        raise MalformedError("method is not an object")
    return StoredMethod(
        method_ref=_required(method, "ref"),
        customer_ref=_required(method, "customer"),
        brand=_optional(method, "brand") or "",
        last4=_optional(method, "last4") or "",
    )
