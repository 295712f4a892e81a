"""The contract of a payment provider, in the order an implementer needs it: data, capabilities, errors, the class.

An adapter gets dataclasses and returns dataclasses. It sees no model, no request and no setting but its own config; it
changes no state of ours and opens no transaction. A decline is a result, a timeout is unknown (`Unavailable`), any other
exception is our fault or the provider's refusal. Amounts are `Decimal` in the major unit, times are aware UTC.
Source: providers.md 0.1; `order_ref`, `idempotency_key`, `method` and `parent_payment_id` of events are additions that
let an event find the checkout, charge or refund it belongs to, and so is payment.dispute_lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

# --- data in ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubRequest:
    """A first purchase. `interval` is `(every, cycle)`; `idempotency_key` is the same whenever this attempt is resumed."""

    user_ref: str
    plan_ref: str
    provider_plan_ref: str | None
    order_ref: str
    amount: Decimal
    currency: str
    interval: tuple[int, str]
    trial_days: int
    email: str
    success_url: str
    fail_url: str
    cancel_url: str
    hook_url: str
    idempotency_key: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """One open invoice to be paid by hand."""

    user_ref: str
    plan_ref: str
    order_ref: str
    amount: Decimal
    currency: str
    email: str
    success_url: str
    fail_url: str
    cancel_url: str
    hook_url: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """A charge of a stored method. The key is our transaction's: the same charge is never sent under another."""

    method_ref: str
    customer_ref: str
    amount: Decimal
    currency: str
    idempotency_key: str
    hook_url: str = ""


# --- data out --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubResult:
    """What a checkout or link became. `status`: pending | active."""

    provider_sub_id: str | None
    checkout_url: str | None
    status: str
    expires_at: datetime | None = None


class SubStatus(StrEnum):
    """A provider's word for a subscription, translated. An unknown word is UNKNOWN, never ACTIVE."""

    PENDING = "pending"
    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    ON_HOLD = "on_hold"
    PAUSED = "paused"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SubState:
    """A subscription as the provider sees it now."""

    provider_sub_id: str
    status: SubStatus
    auto_renew: bool | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    plan_ref: str | None = None
    user_ref: str | None = None
    as_of: datetime | None = None


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a payment was refused. `recoverable` False (stolen card, account closed): asking again is pointless."""

    code: str
    recoverable: bool


@dataclass(frozen=True, slots=True)
class PaymentResult:
    outcome: Outcome
    provider_txn_id: str | None
    decline: Decline | None = None
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class RefundResult:
    """`status` of the refund: succeeded | pending | failed. `amount` is what goes back in this refund."""

    status: Literal["succeeded", "pending", "failed"]
    provider_refund_id: str | None
    amount: Decimal | None = None


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
    """One neutral fact out of a delivery.

    `event_id` is "<delivery key>#n". `provider_payment_id` is the id of the money that moved: for payment.refunded of the
    refund itself, for payment.dispute* of the dispute, which keeps one id to its end (made of the charge's where the
    provider gives none); the charge is `parent_payment_id`. A lost dispute is payment.dispute_lost, never a refund. A
    state event carries `period_end`; state alone never grants what money must.
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
    amount: Decimal | None = None
    currency: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    reason: str | None = None
    recoverable: bool = True
    method: StoredMethod | None = None
    is_test: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    status: int = 200
    content_type: str = "text/plain"
    body: bytes = b""


# --- capabilities ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caps:
    """What a provider can do. A method whose capability is False raises NotSupported without touching the network.

    `cancel_at_period_end` and `cancel_now` say that the *provider* must be told; where they are False and the provider
    does not renew by itself, cancelling is ours alone.
    """

    create: bool = False
    hosted_checkout: bool = False
    attach: bool = False
    trial: bool = False
    cancel_now: bool = False
    cancel_at_period_end: bool = False
    resume: bool = False
    pause: bool = False
    change: bool = False
    refund_full: bool = False
    refund_partial: bool = False
    merchant_charge: bool = False
    payment_link: bool = False
    renewal_driver: Literal["provider", "merchant"] = "merchant"
    price_set_by: Literal["payflow", "provider"] = "payflow"
    merchant_of_record: bool = False
    grace: bool = False
    webhooks_signed: bool = True
    fetch_state: bool = False
    test_mode: bool = False


# --- errors ----------------------------------------------------------------------------------------------------------


class ProviderError(Exception):
    """Base of what an adapter raises. The text is ours: never the provider's answer, a secret or personal data."""


class NotSupported(ProviderError):
    """The capability is False."""


class Unavailable(ProviderError):
    """No answer (timeout, 5xx, connection): the outcome is unknown and is resolved by asking."""


class RateLimited(Unavailable):
    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AuthError(ProviderError):
    """The provider does not accept our credentials."""


class RequestRefused(ProviderError):
    """The provider finds the request wrong (400, 409, 422): asking again the same way is pointless."""


class UnknownReference(ProviderError):
    """The provider does not know the id (404)."""


class CurrencyRefused(ProviderError):
    """The provider does not sell in this currency."""


class SignatureError(ProviderError):
    """The delivery is not authentic. Permanent."""


class RetryableVerifyError(ProviderError):
    """The delivery could not be checked just now (a certificate server is down): answer 503."""


class MalformedError(ProviderError):
    """Authentic, but not what the provider documents."""


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One fault of a provider's settings, for Django's system checks. `level`: error | warning."""

    level: Literal["error", "warning"]
    message: str
    hint: str = ""


# --- the contract ----------------------------------------------------------------------------------------------------


class Provider(ABC):
    """One configured provider. Made once per process by `providers.registry` from its name and its settings.

    Implement, in this order: `capabilities`, `config_faults`, `create_subscription`, the four webhook methods; then
    whatever the capabilities promise. Network calls take the key under which the provider must do them once.
    """

    #: The largest body a genuine delivery has.
    max_webhook_bytes: int = 64 * 1024
    #: How many charges may be under way at once. 1 where a thread would cost more than the call.
    calls_at_once: int = 8

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self.config = config

    @property
    @abstractmethod
    def capabilities(self) -> Caps: ...

    @abstractmethod
    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        """What is missing, empty or forbidden in the settings. Touches no network."""

    def supports_currency(self, currency: str) -> bool:
        """False where this provider can't sell in `currency`."""
        return True

    # buying

    def create_subscription(self, request: SubRequest) -> SubResult:
        """Opens a checkout. Raises Unavailable (unknown: will be called again with the same key), RequestRefused."""
        raise NotSupported(f"{self.name} does not create subscriptions")

    def create_payment_link(self, request: LinkRequest) -> SubResult:
        """A page where one invoice is paid by hand."""
        raise NotSupported(f"{self.name} has no payment links")

    def attach_purchase(self, *, user_ref: str, token: str) -> SubState:
        """A store purchase that the app sends us (signed transaction, purchase token)."""
        raise NotSupported(f"{self.name} has no store purchases")

    # charging a stored method

    def charge(self, request: ChargeRequest) -> PaymentResult:
        """Charges once per idempotency key. A decline is a result. Raises Unavailable where nobody knows."""
        raise NotSupported(f"{self.name} charges no stored methods")

    def find_payment(self, idempotency_key: str, created_at: datetime) -> PaymentResult | None:
        """What became of a charge; None means the provider never saw it. Raises Unavailable."""
        raise NotSupported(f"{self.name} cannot look payments up")

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        """Gives money back, once per key; `amount` None is the whole rest. Raises RequestRefused above the rest."""
        raise NotSupported(f"{self.name} has no refunds")

    # the provider's own subscription, where it has one

    def get_subscription(self, provider_sub_id: str) -> SubState:
        raise NotSupported(f"{self.name} has no state to fetch")

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, idempotency_key: str = ""
    ) -> SubState:
        """Idempotent: what is already cancelled, or gone, is CANCELED."""
        raise NotSupported(f"{self.name} cancels nothing")

    def resume_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        raise NotSupported(f"{self.name} resumes nothing")

    def pause_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        raise NotSupported(f"{self.name} pauses nothing")

    def change_subscription(self, provider_sub_id: str, *, plan_ref: str, idempotency_key: str = "") -> SubState:
        raise NotSupported(f"{self.name} changes nothing")

    def manage_url(self, provider_sub_id: str) -> str | None:
        """Where the subscriber manages it himself, if the provider has such a page."""
        return None

    # webhooks: verify, key, parse, answer; all four are pure but for certificates

    @abstractmethod
    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        """Proves the raw bytes authentic, before any parsing. `headers` have lower-case names; `now` is real time.

        Raises SignatureError (permanent), RetryableVerifyError (503).
        """

    @abstractmethod
    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        """What makes a redelivery the same delivery. Called after verify. Raises MalformedError."""

    @abstractmethod
    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        """0 to n events; an unknown type is [] and a line in the log. Raises MalformedError."""

    def webhook_response(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> WebhookAnswer:
        """The answer that the provider takes as received."""
        return WebhookAnswer()
