"""What a provider reports: neutral facts, and the answer that it wants for telling them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    SUBSCRIPTION_CREATED = "subscription.created"
    SUBSCRIPTION_ACTIVATED = "subscription.activated"
    SUBSCRIPTION_RENEWED = "subscription.renewed"
    SUBSCRIPTION_CANCELED = "subscription.canceled"
    SUBSCRIPTION_EXPIRED = "subscription.expired"
    SUBSCRIPTION_GRACE = "subscription.grace"
    SUBSCRIPTION_ON_HOLD = "subscription.on_hold"
    SUBSCRIPTION_PAUSED = "subscription.paused"
    SUBSCRIPTION_RESUMED = "subscription.resumed"
    SUBSCRIPTION_PLAN_CHANGED = "subscription.plan_changed"
    SUBSCRIPTION_REVOKED = "subscription.revoked"
    SUBSCRIPTION_EXTENDED = "subscription.extended"
    PAYMENT_SUCCEEDED = "payment.succeeded"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_REFUNDED = "payment.refunded"
    PAYMENT_REFUND_REVERSED = "payment.refund_reversed"
    PAYMENT_DISPUTED = "payment.disputed"
    PAYMENT_DISPUTE_LOST = "payment.dispute_lost"
    PAYMENT_DISPUTE_WON = "payment.dispute_won"
    TEST_PING = "test.ping"


@dataclass(frozen=True, slots=True)
class StoredMethod:
    """A payment method that the provider keeps for later charges; never a card number."""

    method_ref: str
    customer_ref: str
    kind: str = "card"
    brand: str = ""
    last4: str = ""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One neutral fact out of a delivery, or out of the provider's own records.

    `event_id` is "<delivery key>#n". `provider_payment_id` is the id of the money that moved: for payment.refunded of the
    refund itself, for payment.dispute* of the dispute, which keeps one id to its end (made of the charge's where the
    provider gives none); the charge is `parent_payment_id`. A lost dispute is payment.dispute_lost, never a refund.
    `occurred_at` is the provider's time of the fact: of two states the later one holds.

    A state event carries `period_end`, until when the provider lets the subscription be used (of subscription.grace the
    end of its grace); state alone never grants what money must. A payment for a period that the provider chose carries
    `period_start` and `period_end`. `plan_ref` is our word for the plan, given when it was sold; `provider_plan_ref` the
    provider's product. `replaces` is the purchase that this one took over from.
    """

    provider: str
    event_id: str
    type: EventType
    occurred_at: datetime
    provider_sub_id: str | None = None
    provider_payment_id: str | None = None
    parent_payment_id: str | None = None
    order_ref: str | None = None
    idempotency_key: str | None = None
    user_ref: str | None = None
    plan_ref: str | None = None
    provider_plan_ref: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    reason: str | None = None
    recoverable: bool = True
    is_trial: bool = False
    replaces: str | None = None
    unacknowledged: bool = False
    method: StoredMethod | None = None
    is_test: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    status: int = 200
    content_type: str = "text/plain"
    body: bytes = b""
