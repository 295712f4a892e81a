"""The adapter of Stripe, in the mode that its settings choose.

payments: PayFlow sets the price and drives the renewals. Checkout takes the first payment and keeps the method
(mode=payment, or mode=setup where nothing is due yet), later charges are PaymentIntents off session.
billing: Stripe Billing sets the price and renews; Checkout starts a subscription of the plan's Price.
Either mode leaves the other's objects alone, so that two providers of the two modes may share an account.
Source: providers.md, chapter 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.base import (
    Caps,
    ChangeRequest,
    ChargeRequest,
    ConfigFault,
    LinkRequest,
    NotSupported,
    PaymentResult,
    Provider,
    ProviderError,
    ProviderEvent,
    RefundResult,
    RequestRefused,
    SubRequest,
    SubResult,
    SubState,
)
from providers.stripe import money, payments, requests, webhooks
from providers.stripe.billing import Billing
from providers.stripe.client import Declined, StripeApi
from providers.stripe.config import StripeConfig
from providers.stripe.confirm import Confirmer
from providers.stripe.notice import Notice
from providers.stripe.records import Records
from providers.stripe.wire import optional_moment
from providers.wire.urls import is_web_url


class StripeProvider(Provider):
    """See the module; its settings are those of `StripeConfig`."""

    #: An invoice's event has every line, and each line its Price.
    max_webhook_bytes = 256 * 1024

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._settings = StripeConfig.load(config)
        self._api = StripeApi(name, self._settings)
        self._billing = Billing(self._api, self._settings)
        self._confirmer = Confirmer(self._api, self._settings)
        self._records = Records(name, self._settings, self._api, self._billing, self._confirmer)

    @property
    def capabilities(self) -> Caps:
        common = Caps(
            create=self._settings.bills_itself or not self._settings.legacy_plans,
            hosted_checkout=not self._settings.legacy_plans,
            trial=not self._settings.legacy_plans,
            refund_full=True,
            refund_partial=True,
            webhooks_signed=True,
            test_mode=True,
            feed=True,
        )
        return _billing(common) if self._settings.bills_itself else _payments(common)

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return self._settings.faults(debug=debug)

    def supports_currency(self, currency: str) -> bool:
        return money.is_sold(currency)

    # buying

    def create_subscription(self, request: SubRequest) -> SubResult:
        """`metadata["plan_name"]` is what the payer reads on the page; without it he reads `plan_ref`."""
        if self._settings.bills_itself:
            if self._settings.legacy_plans:
                return self._billing.create_with_method(request)
            return self._session(requests.subscription_session(request), request.idempotency_key)
        self._require_checkout()
        if request.trial_days or not request.amount:
            return self._session(requests.setup_session(request), request.idempotency_key)
        product = request.metadata.get("plan_name") or request.plan_ref
        return self._session(requests.payment_session(request, product=product), request.idempotency_key)

    def create_payment_link(self, request: LinkRequest) -> SubResult:
        self._require_payments("payment links")
        self._require_checkout()
        body = requests.payment_session(request, product=request.plan_ref or request.order_ref)
        return self._session(body, request.idempotency_key)

    # charging a stored method

    def charge(self, request: ChargeRequest) -> PaymentResult:
        self._require_payments("charges of a stored method")
        return payments.charge(self._api, request, legacy=self._settings.legacy_plans)

    def find_payment(self, idempotency_key: str, created_at: datetime) -> PaymentResult | None:
        self._require_payments("charges of a stored method")
        return payments.find(self._api, idempotency_key, created_at)

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        return payments.refund(
            self._api,
            provider_txn_id,
            amount,
            currency,
            reason=reason,
            key=idempotency_key,
            legacy=self._settings.legacy_plans,
        )

    # Stripe's own subscription

    def get_subscription(self, provider_sub_id: str) -> SubState:
        self._require_billing("a subscription of its own")
        return self._billing.state(provider_sub_id)

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        self._require_billing("a subscription of its own")
        return self._records.of_subscription(provider_sub_id, since=since)

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        self._require_billing("a subscription of its own")
        return self._billing.cancel(provider_sub_id, at_period_end=at_period_end, key=idempotency_key)

    def resume_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        self._require_billing("a subscription of its own")
        return self._billing.resume(provider_sub_id, key=idempotency_key)

    def pause_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        self._require_billing("a subscription of its own")
        return self._billing.pause(provider_sub_id, key=idempotency_key)

    def change_subscription(self, request: ChangeRequest) -> SubState:
        self._require_billing("a subscription of its own")
        return self._billing.change(request)

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        """The login page of Stripe's customer portal, where one is configured: Stripe knows there who it is."""
        return self._settings.portal_url or None if self._settings.bills_itself else None

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        webhooks.verify(
            headers.get(webhooks.SIGNATURE_HEADER),
            raw_body,
            secrets=self._settings.secrets,
            max_bytes=self.max_webhook_bytes,
            now=now,
        )

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return self._read(raw_body).delivery_key

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        return webhooks.events(self._read(raw_body), self._settings)

    def confirm_events(self, events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        return self._confirmer.confirm(events)

    def missed_events(self, *, since: datetime, until: datetime) -> Iterable[ProviderEvent]:
        return self._records.missed(since=since, until=until)

    # steps

    def _read(self, raw_body: bytes) -> Notice:
        return webhooks.read(raw_body, provider=self.name, settings=self._settings)

    def _session(self, body: Any, key: str) -> SubResult:
        """Opens a Checkout Session. Stripe reports to the endpoint that its dashboard has: `hook_url` is not sent."""
        options: Any = {"idempotency_key": key}
        try:
            session = self._api.ask(lambda client: client.v1.checkout.sessions.create(body, options))
        except Declined as declined:
            raise RequestRefused(f"{self.name} refused the request (402)") from declined
        url = session.get("url")
        if not isinstance(url, str) or not is_web_url(url):
            raise ProviderError("Stripe's answer has no page to pay at")
        expires_at = optional_moment(session.get("expires_at"), "expires_at")
        return SubResult(provider_sub_id=None, checkout_url=url, status="pending", expires_at=expires_at)

    def _require_checkout(self) -> None:
        if self._settings.legacy_plans:
            raise NotSupported(f"{self.name} has no Checkout with legacy_plans")

    def _require_payments(self, what: str) -> None:
        if self._settings.bills_itself:
            raise NotSupported(f"{self.name} has no {what} in billing mode")

    def _require_billing(self, what: str) -> None:
        if not self._settings.bills_itself:
            raise NotSupported(f"{self.name} has no {what} in payments mode")


def _payments(common: Caps) -> Caps:
    return replace(
        common,
        merchant_charge=True,
        payment_link=common.hosted_checkout,
        renewal_driver="merchant",
        price_set_by="payflow",
    )


def _billing(common: Caps) -> Caps:
    return replace(
        common,
        cancel_now=True,
        cancel_at_period_end=True,
        resume=True,
        pause=True,
        change=True,
        renewal_driver="provider",
        price_set_by="provider",
        fetch_state=True,
    )
