"""Reading the sandbox's deliveries: authentic bytes in, neutral events out; anything undocumented is MalformedError."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from providers.base import EventType, MalformedError, ProviderEvent, StoredMethod
from providers.sandbox.subscription_wire import STATE_EVENTS, subscription_fields, usable_until
from providers.wire.fields import amount_of, currency_of, moment_of, optional_text, read_object, required_text

_MONEY = {
    "payment.succeeded": EventType.PAYMENT_SUCCEEDED,
    "payment.failed": EventType.PAYMENT_FAILED,
    "payment.refunded": EventType.PAYMENT_REFUNDED,
    "payment.refund_reversed": EventType.PAYMENT_REFUND_REVERSED,
    "payment.disputed": EventType.PAYMENT_DISPUTED,
    "payment.dispute_lost": EventType.PAYMENT_DISPUTE_LOST,
    "payment.dispute_won": EventType.PAYMENT_DISPUTE_WON,
}
#: What takes back a payment has an id of its own, and names that payment.
_REVERSALS = {
    EventType.PAYMENT_REFUNDED: "refund_id",
    EventType.PAYMENT_REFUND_REVERSED: "refund_id",
    EventType.PAYMENT_DISPUTED: "dispute_id",
    EventType.PAYMENT_DISPUTE_LOST: "dispute_id",
    EventType.PAYMENT_DISPUTE_WON: "dispute_id",
}
_COMPLETED = "checkout.completed"

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
    if event.type in STATE_EVENTS:
        return [_state(provider, event, STATE_EVENTS[event.type])]
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
        order_ref=required_text(data, "order_ref"),
        idempotency_key=optional_text(data, "idempotency_key"),
        user_ref=optional_text(data, "user_ref"),
        plan_ref=optional_text(data, "plan_ref"),
        method=_method(data),
        raw=data,
    )


def _state(provider: str, event: _Envelope, type_: EventType) -> ProviderEvent:
    """What became of a subscription of the sandbox's own. A trial that begins brings the stored method."""
    shown = _subscription(event.data)
    if shown is None:
        raise MalformedError("the subscription is missing")
    trial = event.type == "subscription.trial_started"
    return ProviderEvent(
        provider=provider,
        event_id=f"{event.id}#0",
        type=type_,
        occurred_at=event.created_at,
        **subscription_fields(shown),
        period_start=moment_of(shown.get("period_start"), "period_start"),
        period_end=usable_until(shown),
        is_trial=trial,
        method=_method(event.data) if trial else None,
        raw=event.data,
    )


def _money(provider: str, event: _Envelope, type_: EventType) -> ProviderEvent:
    data = event.data
    payment = required_text(data, "payment_id")
    own_id = _REVERSALS.get(type_)
    shown = _subscription(data)
    refs: dict[str, Any] = {name: optional_text(data, name) for name in ("order_ref", "user_ref", "plan_ref")}
    if shown is not None:
        refs = subscription_fields(shown) | {name: value for name, value in refs.items() if value}
    return ProviderEvent(
        provider=provider,
        event_id=f"{event.id}#0",
        type=type_,
        occurred_at=event.created_at,
        provider_payment_id=required_text(data, own_id) if own_id else payment,
        parent_payment_id=payment if own_id else None,
        idempotency_key=optional_text(data, "idempotency_key"),
        **refs,
        amount=amount_of(data.get("amount")),
        currency=currency_of(data.get("currency")),
        period_start=_moment(data, "period_start"),
        period_end=_moment(data, "period_end"),
        reason=optional_text(data, "reason") if own_id else optional_text(data, "code"),
        recoverable=data.get("recoverable") is not False,
        method=_method(data),
        raw=data,
    )


def _subscription(data: Mapping[str, Any]) -> dict[str, Any] | None:
    shown = data.get("subscription")
    if shown is not None and not isinstance(shown, dict):
        raise MalformedError("subscription is not an object")
    return shown


def _moment(data: Mapping[str, Any], name: str) -> datetime | None:
    return None if data.get(name) is None else moment_of(data.get(name), name)


def _envelope(raw_body: bytes) -> _Envelope:
    parsed = read_object(raw_body)
    data = parsed.get("data")
    if not isinstance(data, dict):
        raise MalformedError("the delivery has no data")
    return _Envelope(
        required_text(parsed, "id"),
        required_text(parsed, "type"),
        moment_of(parsed.get("created_at"), "created_at"),
        data,
    )


def _method(data: Mapping[str, Any]) -> StoredMethod | None:
    method = data.get("method")
    if method is None:
        return None
    if not isinstance(method, dict):
        raise MalformedError("method is not an object")
    return StoredMethod(
        method_ref=required_text(method, "ref"),
        customer_ref=required_text(method, "customer"),
        brand=optional_text(method, "brand") or "",
        last4=optional_text(method, "last4") or "",
    )
