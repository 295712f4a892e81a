"""Stripe's deliveries: their proof, their envelope, and which reader tells what of them.

`Stripe-Signature: t=<seconds>,v1=<hex>[,v1=…][,v0=…]`, where v1 is HMAC-SHA256 of "<t>.<raw body>" under the endpoint's
secret, its whole text ("whsec_…"). Any v1 may match: while a secret is rotated Stripe sends two. Source: providers.md 5.2.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from datetime import datetime

from providers.base import MalformedError, ProviderEvent, SignatureError
from providers.stripe import checkout_events, money_events, subscription_events
from providers.stripe.config import StripeConfig
from providers.stripe.notice import Notice, Reader
from providers.stripe.wire import MAX_ID, Object, section
from providers.wire.fields import moment_of_epoch, read_object, required_text

SIGNATURE_HEADER = "stripe-signature"
TOLERANCE_SECONDS = 300
#: A genuine header has a time and a signature or two.
MAX_HEADER = 2000

#: What is told in either mode: money that moved back.
_REVERSALS: dict[str, Reader] = {
    "charge.refunded": money_events.charge_refunded,
    "refund.created": money_events.refund,
    "refund.updated": money_events.refund,
    "refund.failed": money_events.refund,
    "charge.refund.updated": money_events.refund,  # its name before refund.updated
    "charge.dispute.created": money_events.dispute,
    "charge.dispute.closed": money_events.dispute,
    "charge.dispute.funds_withdrawn": money_events.dispute,
    "charge.dispute.funds_reinstated": money_events.dispute,
}
PAYMENTS_READERS: dict[str, Reader] = {
    "checkout.session.completed": checkout_events.payments_completed,
    "checkout.session.async_payment_failed": checkout_events.payments_failed,
    "payment_intent.succeeded": money_events.payment_succeeded,
    "payment_intent.payment_failed": money_events.payment_failed,
    **_REVERSALS,
}
BILLING_READERS: dict[str, Reader] = {
    "checkout.session.completed": checkout_events.billing_completed,
    "checkout.session.async_payment_failed": checkout_events.billing_failed,
    "customer.subscription.created": subscription_events.created,
    "customer.subscription.updated": subscription_events.updated,
    "customer.subscription.deleted": subscription_events.deleted,
    "customer.subscription.paused": subscription_events.paused,
    "customer.subscription.resumed": subscription_events.resumed,
    "invoice.paid": money_events.invoice_paid,
    # The same money as invoice.paid under the same invoice's id; the only one that endpoints of old have.
    "invoice.payment_succeeded": money_events.invoice_paid,
    "invoice.payment_failed": money_events.invoice_failed,
    "invoice.payment_action_required": money_events.invoice_failed,
    "invoice.marked_uncollectible": money_events.invoice_failed,
    **_REVERSALS,
}

log = logging.getLogger(__name__)


def sign(secret: str, timestamp: int, raw_body: bytes) -> str:
    return hmac.new(secret.encode(), b"%d." % timestamp + raw_body, hashlib.sha256).hexdigest()


def verify(header: str | None, raw_body: bytes, *, secrets: Sequence[str], max_bytes: int, now: datetime) -> None:
    """Raises SignatureError unless one of `secrets` signed these bytes within TOLERANCE_SECONDS of `now`."""
    if len(raw_body) > max_bytes:
        raise SignatureError("the delivery is too large")
    if not header or len(header) > MAX_HEADER:
        raise SignatureError("the delivery is not signed")
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    # As bytes: compare_digest raises TypeError for a str that is not ASCII, and a header may be anything.
    given = [value.encode("utf-8", "backslashreplace") for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12) or not given:
        raise SignatureError("the delivery's signature cannot be read")
    timestamp = int(times[0])
    if str(timestamp) != times[0]:
        raise SignatureError("the delivery's signature cannot be read")
    expected = [sign(secret, timestamp, raw_body).encode() for secret in secrets if secret]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in given):
        raise SignatureError("the delivery's signature is wrong")
    if abs(now.timestamp() - timestamp) > TOLERANCE_SECONDS:
        raise SignatureError("the delivery is too old")


def read(raw_body: bytes, *, provider: str, settings: StripeConfig) -> Notice:
    """Raises MalformedError where the body is not an event."""
    return notice_of(read_object(raw_body), provider=provider, settings=settings)


def notice_of(event: Object, *, provider: str, settings: StripeConfig) -> Notice:
    """An event as it was delivered, or as the list of events has it."""
    data = section(event, "data")
    if not isinstance(data.get("object"), dict):
        raise MalformedError("the event has no object")
    return Notice(
        provider=provider,
        event_id=required_text(event, "id", MAX_ID),
        type=required_text(event, "type"),
        created=moment_of_epoch(event.get("created"), "created"),
        object=section(data, "object"),
        previous=section(data, "previous_attributes"),
        is_test=settings.is_live and event.get("livemode") is not True,
    )


def readers(settings: StripeConfig) -> dict[str, Reader]:
    return BILLING_READERS if settings.bills_itself else PAYMENTS_READERS


def events(notice: Notice, settings: StripeConfig) -> list[ProviderEvent]:
    """What a delivery tells; [] for a type that tells nothing in this mode. Raises MalformedError."""
    reader = readers(settings).get(notice.type)
    if reader is None:
        log.info("stripe: an event of type %.100r says nothing here", notice.type)
        return []
    return [notice.numbered(event, n) for n, event in enumerate(reader(notice))]
