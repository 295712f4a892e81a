"""Lava's webhook: the proof over its raw bytes, and what it says. Pure, but for the log.

Source: the architecture document, "Webhook from Lava" and "Webhook Security"; statuses from providers.md 1.2.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from payflow.core import clock
from providers.base import EventType, MalformedError, ProviderEvent, SignatureError

SIGNATURE_HEADER = "x-lava-signature"
ORDER_PREFIX = "sub_"
SUCCEEDED = frozenset({"success", "completed"})
FAILED = frozenset({"failed", "fail", "error", "cancel", "expired"})

#: `lava:<invoice_id>:<status>#0` must fit the 255 characters of an event's id.
MAX_ID = 180
MAX_STATUS = 40
MAX_REF = 255
#: Money is numeric(19,4): anything outside is no amount that we could have asked for.
AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,4})?", re.ASCII)

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
    try:
        body = json.loads(raw_body.decode(), parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:  # Decimal refuses 1e99999999999999999999
        raise MalformedError("the delivery is not JSON") from error
    if not isinstance(body, dict):
        raise MalformedError("the delivery is not an object")
    return Notice(
        invoice_id=_required(body, "invoice_id", MAX_ID),
        order_id=_required(body, "order_id", MAX_ID),
        status=_required(body, "status", MAX_STATUS).lower(),
        body=body,
    )


def events(notice: Notice, *, provider: str, currency: str) -> list[ProviderEvent]:
    """The one payment that a delivery tells of; [] for a status that nobody documents.

    Whether it activates or renews is not on the wire: the receiver knows from what it has. Raises MalformedError.
    """
    if notice.status not in SUCCEEDED | FAILED:
        log.warning("lava: status %r of invoice %s is not known; ignored", notice.status, notice.invoice_id)
        return []
    occurred_at, amount = _time(notice.body.get("pay_time")), _amount(notice.body.get("amount"))
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
            user_ref=_text(refs.get("user_id"), MAX_REF),
            plan_ref=_text(refs.get("plan_id"), MAX_REF),
            amount=amount,
            currency=currency,
            reason=None if paid else notice.status,
            raw=notice.body,
        )
    ]


def _required(body: Mapping[str, Any], field: str, longest: int) -> str:
    value = _text(body.get(field), longest)
    if value is None:
        raise MalformedError(f"{field} is missing or not a short text")
    return value


def _text(value: object, longest: int) -> str | None:
    """A text (or whole number) that a database column takes: not empty, no control characters, no lone surrogates."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text.strip()) <= longest or not text.isprintable():
        return None
    return text.strip()


def _amount(value: object) -> Decimal | None:
    """An amount as a JSON number or a string of digits; None where there is none.

    Raises MalformedError for NaN, negatives and nonsense.
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if isinstance(value, Decimal):  # 6.99e0 is a JSON number too; an exponent too large is cut short before it is spelt
        value = format(value, "f") if value.is_finite() and -30 < value.adjusted() < 30 else None
    if not isinstance(value, str) or not AMOUNT.fullmatch(value.strip()):
        raise MalformedError("amount is not an amount of money")
    return Decimal(value.strip())


def _time(value: object) -> datetime | None:
    """An RFC 3339 time in UTC (a time without a zone is UTC); None where there is none. Raises MalformedError."""
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedError("pay_time is not a time") from error


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
