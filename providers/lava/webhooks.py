"""Lava's webhook: the proof over its raw bytes, and what it says. Pure, but for the log.

Source: the architecture document, "Webhook from Lava" and "Webhook Security"; statuses from providers.md 1.2.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from payflow.core import clock
from providers.base import EventType, MalformedError, ProviderEvent, SignatureError
from providers.wire.fields import amount_of, moment_utc, read_object, required_text, usable_text

SIGNATURE_HEADER = "x-lava-signature"
ORDER_PREFIX = "sub_"
SUCCEEDED = frozenset({"success", "completed"})
FAILED = frozenset({"failed", "fail", "error", "cancel", "expired"})

#: `lava:<invoice_id>:<status>#0` must fit the 255 characters of an event's id.
MAX_ID = 180
MAX_STATUS = 40

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """The three fields that every delivery has, whatever its status, and the whole body."""

    invoice_id: str
    order_id: str
    status: str
    body: Mapping[str, Any]

    @property
    def delivery_key(self) -> str:
        return f"lava:{self.invoice_id}:{self.status}"


def sign(secret: str, raw_body: bytes) -> str:
    """hex(HMAC_SHA256(secret, the body's very bytes))."""
    return hmac.new(secret.encode(), raw_body, hashlib.sha256).hexdigest()


def verify(signature: str | None, raw_body: bytes, *, secrets: Sequence[str], max_bytes: int) -> None:
    """Raises SignatureError unless one of `secrets` signed exactly these bytes. Nothing is parsed."""
    if len(raw_body) > max_bytes:
        raise SignatureError("the delivery is too large")
    if not signature or not signature.strip():
        raise SignatureError("the delivery is not signed")
    # As bytes: compare_digest raises TypeError for a str that is not ASCII, and a header may be anything.
    given = signature.strip().lower().encode("utf-8", "backslashreplace")
    if not any(hmac.compare_digest(sign(secret, raw_body).encode(), given) for secret in secrets if secret):
        raise SignatureError("the delivery's signature is wrong")


def read(raw_body: bytes) -> Notice:
    """Raises MalformedError where the body is not the documented object."""
    body = read_object(raw_body)
    return Notice(
        invoice_id=required_text(body, "invoice_id", MAX_ID),
        order_id=required_text(body, "order_id", MAX_ID),
        status=required_text(body, "status", MAX_STATUS).lower(),
        body=body,
    )


def events(notice: Notice, *, provider: str, currency: str) -> list[ProviderEvent]:
    """The one payment that a delivery tells of; [] for a status that nobody documents.

    Whether it activates or renews is not on the wire: the receiver knows from what it has. Raises MalformedError.
    """
    if notice.status not in SUCCEEDED | FAILED:
        log.warning("lava: status %r of invoice %s is not known; ignored", notice.status, notice.invoice_id)
        return []
    pay_time, sum_ = notice.body.get("pay_time"), notice.body.get("amount")
    occurred_at = moment_utc(pay_time, "pay_time") if pay_time not in (None, "") else None
    amount = amount_of(sum_) if sum_ is not None else None
    paid = notice.status in SUCCEEDED
    if paid and (occurred_at is None or amount is None):
        raise MalformedError("pay_time or amount of a payment is missing")
    custom = notice.body.get("custom_fields")
    refs: Mapping[str, Any] = custom if isinstance(custom, Mapping) else {}
    return [
        ProviderEvent(
            provider=provider,
            event_id=f"{notice.delivery_key}#0",
            type=EventType.PAYMENT_SUCCEEDED if paid else EventType.PAYMENT_FAILED,
            # A failure needs no time of payment: without one it is as old as its news.
            occurred_at=occurred_at or clock.wall(),
            provider_payment_id=notice.invoice_id,
            order_ref=notice.order_id.removeprefix(ORDER_PREFIX),
            user_ref=usable_text(refs.get("user_id")),
            plan_ref=usable_text(refs.get("plan_id")),
            amount=amount,
            currency=currency,
            reason=None if paid else notice.status,
            raw=notice.body,
        )
    ]
