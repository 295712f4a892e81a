"""Webhooks of lava.top: a key that proves who sends, and a hint of what happened. Pure, but for the log.

The key stands beside the body and signs nothing of it, and a cancellation names the latest charge instead of its
subscription: what a delivery says is read again before anybody believes it (`truth`). Source: providers.md 1.4.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from providers.base import EventType, MalformedError, ProviderEvent, SignatureError
from providers.lava.top.records import MAX_ID, order_ref_of
from providers.wire.fields import (
    amount_of,
    currency_of,
    moment_of,
    optional_text,
    read_object,
    required_text,
    usable_text,
)

KEY_HEADER = "x-api-key"
BASIC_HEADER = "authorization"
MAX_KIND = 60

_PAYMENT = EventType.PAYMENT_SUCCEEDED
_FAILED = EventType.PAYMENT_FAILED
#: What an event and its status hint at.
_HINTS: dict[tuple[str, str], tuple[EventType, ...]] = {
    ("payment.success", "completed"): (_PAYMENT,),
    ("payment.success", "subscription-active"): (_PAYMENT, EventType.SUBSCRIPTION_ACTIVATED),
    ("payment.failed", "failed"): (_FAILED,),
    ("payment.failed", "subscription-failed"): (_FAILED,),
    ("subscription.recurring.payment.success", "subscription-active"): (_PAYMENT, EventType.SUBSCRIPTION_RENEWED),
    ("subscription.recurring.payment.failed", "subscription-failed"): (_FAILED, EventType.SUBSCRIPTION_GRACE),
    ("subscription.cancelled", ""): (EventType.SUBSCRIPTION_CANCELED,),
}
_REVERSALS = {
    "refund.success": EventType.PAYMENT_REFUNDED,
    "chargeback.initiated": EventType.PAYMENT_DISPUTED,
}

log = logging.getLogger(__name__)


# --- the proof -------------------------------------------------------------------------------------------------------


def verify(headers: Mapping[str, str], raw_body: bytes, *, user: str, secrets: Sequence[str], max_bytes: int) -> None:
    """Raises SignatureError unless the delivery carries one of `secrets`: as X-Api-Key, or for a `user` as HTTP Basic."""
    if len(raw_body) > max_bytes:
        raise SignatureError("the delivery is too large")
    given = (headers.get(BASIC_HEADER if user else KEY_HEADER) or "").strip()
    if not given:
        raise SignatureError("the delivery has no key")
    # As bytes: compare_digest raises TypeError for a str that is not ASCII, and a header may be anything.
    shown = given.encode("utf-8", "backslashreplace")
    if not any(hmac.compare_digest(_wanted(user, secret), shown) for secret in secrets if secret):
        raise SignatureError("the delivery's key is wrong")


def _wanted(user: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{secret}".encode()) if user else secret.encode()


# --- what it says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """`contract` is None for what lava.top reports without one: refunds, disputes and kinds that we don't know."""

    kind: str
    contract: str | None
    delivery_key: str
    body: Mapping[str, Any]


def read(raw_body: bytes) -> Notice:
    """Raises MalformedError where the body is neither of lava.top's envelopes."""
    body = read_object(raw_body)
    if "event_type" in body:
        kind = required_text(body, "event_type", MAX_KIND)
        return Notice(kind, None, f"lavatop:{required_text(body, 'event_id', MAX_ID)}", body)
    kind = required_text(body, "eventType", MAX_KIND)
    if any(kind == known for known, _ in _HINTS):
        contract = required_text(body, "contractId", MAX_ID)
        return Notice(kind, contract, f"lavatop:{kind}:{contract}", body)
    return Notice(kind, None, f"lavatop:{kind}:{hashlib.sha256(raw_body).hexdigest()}", body)


def hints(notice: Notice, *, provider: str) -> list[ProviderEvent]:
    """What the delivery speaks of; [] for what is not known. Raises MalformedError."""
    if "event_type" in notice.body:
        return _reversal(notice, provider)
    status = "" if notice.kind == "subscription.cancelled" else usable_text(notice.body.get("status")) or "?"
    kinds = _HINTS.get((notice.kind, status.lower()))
    if kinds is None or notice.contract is None:
        log.warning("lava.top: event %r with status %r is not known; ignored", notice.kind, status)
        return []
    return [_hint(notice, kind, f"{notice.delivery_key}#{n}", provider) for n, kind in enumerate(kinds)]


def _hint(notice: Notice, kind: EventType, event_id: str, provider: str) -> ProviderEvent:
    body, is_money = notice.body, kind.value.startswith("payment.")
    return ProviderEvent(
        provider=provider,
        event_id=event_id,
        type=kind,
        occurred_at=_moment(body, "cancelledAt" if kind is EventType.SUBSCRIPTION_CANCELED else "timestamp"),
        provider_sub_id=_subscription(notice),
        provider_payment_id=notice.contract if is_money else None,
        order_ref=order_ref_of(body),
        amount=amount_of(body.get("amount")) if is_money else None,
        currency=currency_of(body.get("currency")) if is_money else None,
        period_end=_moment(body, "willExpireAt") if kind is EventType.SUBSCRIPTION_CANCELED else None,
        reason=usable_text(body.get("errorMessage")) if kind is _FAILED else None,
        raw=_without_buyer(body),
    )


def _subscription(notice: Notice) -> str | None:
    """Its first contract. Of a cancellation a guess: the contract may be the latest charge's."""
    if str(notice.body.get("status")).lower() in ("completed", "failed"):
        return None  # of a product that is paid once
    return optional_text(notice.body, "parentContractId", MAX_ID) or notice.contract


def _reversal(notice: Notice, provider: str) -> list[ProviderEvent]:
    """Money that went back. It names no contract, and is never guessed by the buyer's address: an operator places it."""
    kind = _REVERSALS.get(notice.kind)
    if kind is None:
        log.warning("lava.top: event %r is not known; ignored", notice.kind)
        return []
    data = notice.body.get("data")
    if not isinstance(data, dict):
        raise MalformedError("a reversal without its data")
    return [
        ProviderEvent(
            provider=provider,
            event_id=f"{notice.delivery_key}#0",
            type=kind,
            occurred_at=_moment(notice.body, "created_at"),
            provider_payment_id=optional_text(data, "refund_id", MAX_ID)
            or required_text(notice.body, "event_id", MAX_ID),
            amount=amount_of(data.get("amount")),
            currency=currency_of(data.get("currency")),
            reason=usable_text(data.get("refund_type")),
            raw={**notice.body, "data": {k: v for k, v in data.items() if k != "customer_email"}},
        )
    ]


def _moment(body: Mapping[str, Any], name: str) -> datetime:
    return moment_of(body.get(name), name)


def _without_buyer(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "buyer"}
