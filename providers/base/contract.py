"""What a provider can do, and the class to implement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from providers.base.data import (
    ChangeRequest,
    ChargeRequest,
    LinkRequest,
    PaymentResult,
    RefundResult,
    SubRequest,
    SubResult,
    SubState,
)
from providers.base.errors import NotSupported
from providers.base.events import ProviderEvent, WebhookAnswer


@dataclass(frozen=True, slots=True)
class Caps:
    """What a provider can do. A method whose capability is False raises NotSupported without touching the network.

    `fetch_state` stands for `get_subscription` and `fetch_events`, `feed` for `missed_events`, `find_purchase` for the
    method of that name, `acknowledge` for `acknowledge_purchase`.
    `test_mode`: its deliveries say of themselves whether they are tests (`is_test`), beside real ones.
    `cancel_at_period_end` and `cancel_now` say that the *provider* must be told; where they are False and the provider
    does not renew by itself, cancelling is ours alone.
    `unkeyed_refunds`: a refund has no key there by which it is made once. One that may have been made is never sent again;
    `find_refund` says what became of it where the provider had given it an id, and nobody but an operator knows where not.
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
    acknowledge: bool = False
    feed: bool = False
    find_purchase: bool = False
    unkeyed_refunds: bool = False


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One fault of a provider's settings, for Django's system checks. `level`: error | warning."""

    level: Literal["error", "warning"]
    message: str
    hint: str = ""


class Provider(ABC):
    """One configured provider. Made once per process by `providers.registry` from its name and its settings.

    Implement, in this order: `capabilities`, `config_faults`, `create_subscription`, the webhook methods; then whatever
    the capabilities promise. Network calls take the key under which the provider must do them once.
    """

    #: The largest body a genuine delivery has.
    max_webhook_bytes: int = 64 * 1024
    #: How many charges may be under way at once. 1 where a thread would cost more than the call.
    calls_at_once: int = 8

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self.config = config

    @property
    def believes_tests(self) -> bool:
        """Do test purchases count? Only where the settings say so (`test_mode`): never beside real money."""
        return bool(self.config.get("test_mode"))

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

    def find_refund(self, provider_refund_id: str) -> RefundResult:
        """What became of a refund that was under way. Raises UnknownReference, Unavailable."""
        raise NotSupported(f"{self.name} does not look refunds up")

    # the provider's own subscription, where it has one

    def get_subscription(self, provider_sub_id: str) -> SubState:
        """Its state now. An unknown word is SubStatus.UNKNOWN. Raises UnknownReference, Unavailable."""
        raise NotSupported(f"{self.name} has no state to fetch")

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        """What happened to it after `since`, from the provider's records, oldest first, and its state now as the last.

        Money has the same `provider_payment_id` as in a delivery: nothing is applied twice. Raises as above.
        """
        raise NotSupported(f"{self.name} has no state to fetch")

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        """Idempotent: what is already cancelled, or gone, is CANCELED. `email` is the buyer's, where it is asked for."""
        raise NotSupported(f"{self.name} cancels nothing")

    def resume_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        """Lets it renew again: takes a cancellation at the period's end back, or ends a pause."""
        raise NotSupported(f"{self.name} resumes nothing")

    def pause_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        """Stops its charges until it is resumed."""
        raise NotSupported(f"{self.name} pauses nothing")

    def change_subscription(self, request: ChangeRequest) -> SubState:
        """Another plan or price. Raises RequestRefused."""
        raise NotSupported(f"{self.name} changes nothing")

    def acknowledge_purchase(self, provider_sub_id: str, *, idempotency_key: str = "") -> None:
        """Tells a store that its purchase was delivered, once: what is acknowledged already is left alone."""
        raise NotSupported(f"{self.name} wants no acknowledgement")

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        """Where the subscriber manages it himself, if the provider has such a page. Calls nobody.

        `provider_plan_ref` is the provider's product where it is known which one he has.
        """
        return None

    # webhooks: verify, key, parse, answer are pure but for certificates; confirm asks the provider

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

    def confirm_events(self, events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        """What a delivery only hints at, read again at the provider before anybody believes it.

        Called in a worker, outside of any transaction; as they are, where the delivery itself is the proof. Raises
        Unavailable: the delivery is tried again and nothing has changed.
        """
        return list(events)

    def find_purchase(self, order_ref: str, *, since: datetime) -> list[ProviderEvent]:
        """What was bought under our `order_ref` after `since`, where only a delivery would have said under which name.

        As `fetch_events` tells it; [] where nobody has bought. Raises Unavailable.
        """
        raise NotSupported(f"{self.name} does not look purchases up")

    def missed_events(self, *, since: datetime, until: datetime) -> Iterable[ProviderEvent]:
        """What the provider had to tell in [since, until), from its own list of it; the keys are those of its deliveries.

        Of a list that has only money (refunds, chargebacks) the money has the ids that it has in the deliveries.
        """
        raise NotSupported(f"{self.name} keeps no list of what it told")

    def webhook_response(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> WebhookAnswer:
        """The answer that the provider takes as received."""
        return WebhookAnswer()
