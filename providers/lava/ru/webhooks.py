"""Webhooks of lava.ru: the proof in `Authorization`, and what a delivery says. Pure, but for the log.

Source: providers.md 1.5. Lava's SDK signs the keys in order as compact JSON, shops report the raw body: either counts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from payflow.core import clock
from providers.base import EventType, MalformedError, ProviderEvent, SignatureError, SubStatus
from providers.lava.ru.config import CURRENCY
from providers.lava.ru.records import FAILED, PAID, moscow, order_ref, status_of
from providers.wire.fields import amount_of, optional_text, read_object, required_text, usable_text

SIGNATURE_HEADER = "authorization"
INVOICE, SUBSCRIPTION = 1, 4
MAX_ID = 100
MAX_STATUS = 40

_HINTS = {
    SubStatus.PENDING: EventType.SUBSCRIPTION_CREATED,
    SubStatus.ACTIVE: EventType.SUBSCRIPTION_ACTIVATED,
    SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
    SubStatus.ON_HOLD: EventType.SUBSCRIPTION_ON_HOLD,
}

log = logging.getLogger(__name__)


# --- the proof -------------------------------------------------------------------------------------------------------


def verify(signature: str | None, raw_body: bytes, *, secrets: Sequence[str], max_bytes: int) -> None:
    """Raises SignatureError unless one of `secrets` signed these bytes, or the values in them in Lava's canonical form."""
    if len(raw_body) > max_bytes:
        raise SignatureError("the delivery is too large")
    if not signature or not signature.strip():
        raise SignatureError("the delivery is not signed")
    # As bytes: compare_digest raises TypeError for a str that is not ASCII, and a header may be anything.
    given = signature.strip().lower().encode("utf-8", "backslashreplace")
    for message in _messages(raw_body):
        for secret in secrets:
            signed = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
            if secret and hmac.compare_digest(signed.encode(), given):
                return
    raise SignatureError("the delivery's signature is wrong")


def _messages(raw_body: bytes) -> Iterator[bytes]:
    yield raw_body
    canonical = canonical_json(raw_body)
    if canonical is not None:
        yield canonical


def canonical_json(raw_body: bytes) -> bytes | None:
    r"""The body as PHP's ksort and json_encode write it: keys in order, compact, `\/` and `\uXXXX`, without `signature`.

    None where it has no such form, or where a number would lose digits in it: what is proven must be what is read.
    """
    try:
        body = json.loads(raw_body.decode(), parse_float=_exact_float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    body.pop("signature", None)
    return json.dumps(dict(sorted(body.items())), separators=(",", ":")).replace("/", "\\/").encode()


def _exact_float(digits: str) -> float:
    number = float(digits)
    try:
        exact = Decimal(repr(number)) == Decimal(digits)
    except ArithmeticError as error:  # Decimal refuses 1e99999999999999999999
        raise ValueError("no such number") from error
    if not exact:
        raise ValueError("the number loses digits")
    return number


# --- what it says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """What a delivery is about, and what makes a redelivery the same."""

    kind: int | None
    delivery_key: str
    status: str
    body: Mapping[str, Any]


def read(raw_body: bytes) -> Notice:
    """Raises MalformedError where the body is not an object with the fields of its type."""
    body = read_object(raw_body)
    kind = _kind(body.get("type", INVOICE))
    if kind == INVOICE:
        status = required_text(body, "status", MAX_STATUS).lower()
        return Notice(kind, f"lavaru:{required_text(body, 'invoice_id', MAX_ID)}:{status}", status, body)
    if kind == SUBSCRIPTION:
        status = required_text(body, "status", MAX_STATUS).lower()
        who, next_at = subscription_of(body) or order_of(body), moscow(body, "next_pay_time")
        if who is None:
            raise MalformedError("a subscription's delivery without its id")
        return Notice(kind, f"lavaru:sub:{who}:{status}:{next_at.isoformat() if next_at else ''}", status, body)
    return Notice(None, f"lavaru:other:{hashlib.sha256(raw_body).hexdigest()}", "", body)


def _kind(value: object) -> int | None:
    return {"1": INVOICE, "4": SUBSCRIPTION}.get(usable_text(value) or "")


def subscription_of(body: Mapping[str, Any]) -> str | None:
    """The body of type 4 is published nowhere: its ids are looked for in both of Lava's spellings."""
    return optional_text(body, "subscription_id", MAX_ID) or optional_text(body, "subscriptionId", MAX_ID)


def order_of(body: Mapping[str, Any]) -> str | None:
    return optional_text(body, "order_id", MAX_ID) or optional_text(body, "orderId", MAX_ID)


def events(notice: Notice, *, provider: str) -> list[ProviderEvent]:
    """A payment, whose delivery is its proof; or a hint of a subscription's state, to be read again. [] for what is not
    known. Raises MalformedError."""
    if notice.kind == INVOICE:
        return _payment(notice, provider)
    if notice.kind == SUBSCRIPTION:
        return _state_hint(notice, provider)
    log.warning("lava: a delivery of type %r is not known; ignored", notice.body.get("type"))
    return []


def is_hint(event: ProviderEvent) -> bool:
    """True for what `events` made of a subscription's delivery."""
    return _kind(event.raw.get("type")) == SUBSCRIPTION


def _payment(notice: Notice, provider: str) -> list[ProviderEvent]:
    body = notice.body
    if notice.status not in PAID | FAILED:
        log.warning("lava: status %r of an invoice is not known; ignored", notice.status)
        return []
    paid, pay_time, sum_ = notice.status in PAID, moscow(body, "pay_time"), body.get("amount")
    if paid and (pay_time is None or sum_ is None):
        raise MalformedError("pay_time or amount of a payment is missing")
    order, refs = order_of(body), _custom(body.get("custom_fields"))
    return [
        ProviderEvent(
            provider=provider,
            event_id=f"{notice.delivery_key}#0",
            type=EventType.PAYMENT_SUCCEEDED if paid else EventType.PAYMENT_FAILED,
            # A failure needs no time of payment: without one it is as old as its news.
            occurred_at=pay_time or clock.wall(),
            provider_payment_id=required_text(body, "invoice_id", MAX_ID),
            order_ref=order_ref(order) if order else None,
            user_ref=usable_text(refs.get("user_id")),
            plan_ref=usable_text(refs.get("plan_id")),
            amount=None if sum_ is None else amount_of(sum_),
            currency=CURRENCY,
            reason=None if paid else notice.status,
            raw=body,
        )
    ]


def _custom(value: object) -> Mapping[str, Any]:
    """Our own fields, which go out as a JSON text; of other shops' texts nothing."""
    try:
        fields = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _state_hint(notice: Notice, provider: str) -> list[ProviderEvent]:
    kind = _HINTS.get(status_of(notice.status))
    if kind is None:
        return []
    order = order_of(notice.body)
    return [
        ProviderEvent(
            provider=provider,
            event_id=f"{notice.delivery_key}#0",
            type=kind,
            occurred_at=clock.wall(),
            provider_sub_id=subscription_of(notice.body),
            order_ref=order_ref(order) if order else None,
            period_end=moscow(notice.body, "next_pay_time"),
            raw=notice.body,
        )
    ]
