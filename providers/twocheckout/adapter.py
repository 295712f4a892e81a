"""The adapter of 2Checkout: buy links, subscriptions that it renews by itself, and notices that are proven by asking.

It sells as the merchant of record. PayFlow sets the price, which each buy link carries; 2Checkout keeps the method,
charges the renewals and reports each order (IPN) and each change of a subscription (LCN).
`provider_sub_id` is the subscription's reference, `provider_payment_id` the order's RefNo. Source: providers.md 2.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from payflow.core import clock
from payflow.core.money import CURRENCIES, Money
from providers.base import (
    Caps,
    ChangeRequest,
    ChargeRequest,
    ConfigFault,
    LinkRequest,
    NotSupported,
    PaymentResult,
    Provider,
    ProviderEvent,
    RefundResult,
    RequestRefused,
    SubRequest,
    SubResult,
    SubState,
    SubStatus,
    UnknownReference,
    WebhookAnswer,
)
from providers.twocheckout import signature, webhooks
from providers.twocheckout.api import Api, subscription_path
from providers.twocheckout.config import TwoCheckoutConfig
from providers.twocheckout.links import Links
from providers.twocheckout.payments import Payments
from providers.twocheckout.truth import Records, Seen

#: A new renewal price holds for a number of cycles, never for ever: so many outlast every subscription.
PRICE_CYCLES = 1200
#: How many days a period of one unit has, at least and at most.
DAYS = {"daily": (1, 1), "weekly": (7, 7), "monthly": (28, 31), "yearly": (365, 366)}

log = logging.getLogger(__name__)


class TwoCheckoutProvider(Provider):
    """See the module; its settings are those of `TwoCheckoutConfig`."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._settings = TwoCheckoutConfig.load(config)

    @property
    def capabilities(self) -> Caps:
        return Caps(
            create=True,
            hosted_checkout=True,
            cancel_now=True,
            cancel_at_period_end=True,
            resume=True,
            change=True,
            refund_full=True,
            refund_partial=True,
            merchant_charge=self._settings.one_click,
            payment_link=True,
            renewal_driver="provider",
            price_set_by="payflow",
            merchant_of_record=True,
            grace=True,
            webhooks_signed=True,
            fetch_state=True,
            test_mode=True,
            find_purchase=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return self._settings.faults(debug=debug)

    def supports_currency(self, currency: str) -> bool:
        """Which of them the account sells in, only 2Checkout knows: it refuses the link."""
        return currency in CURRENCIES

    # buying

    def create_subscription(self, request: SubRequest) -> SubResult:
        link = self._links.make(request, now=clock.wall())
        return SubResult(None, link.url, "pending", link.expires_at)

    def create_payment_link(self, request: LinkRequest) -> SubResult:
        link = self._links.make(request, now=clock.wall())
        return SubResult(None, link.url, "pending", link.expires_at)

    # money

    def charge(self, request: ChargeRequest) -> PaymentResult:
        self._needs_one_click()
        return self._payments.charge(request, now=clock.wall())

    def find_payment(self, idempotency_key: str, created_at: datetime) -> PaymentResult | None:
        self._needs_one_click()
        return self._payments.find(idempotency_key, created_at)

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        return self._payments.refund(
            order_reference=provider_txn_id,
            amount=amount,
            currency=currency,
            reason=reason,
            idempotency_key=idempotency_key,
        )

    # its subscription

    def get_subscription(self, provider_sub_id: str) -> SubState:
        return self._records.state(provider_sub_id)

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        return self._records.since(provider_sub_id, since)

    def find_purchase(self, order_ref: str, *, since: datetime) -> list[ProviderEvent]:
        return self._records.bought(order_ref, since)

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        """At the period's end: it renews no more. Now: it is disabled, and what was paid is not given back by that."""
        path = subscription_path(provider_sub_id)
        gone = SubState(provider_sub_id, SubStatus.CANCELED, auto_renew=False)
        try:
            state = self._records.state(provider_sub_id)
            ended = state.status in (SubStatus.REVOKED, SubStatus.EXPIRED)
            if not ended and not (at_period_end and state.auto_renew is False):
                self._api.do("DELETE", f"{path}renewal/" if at_period_end else path, idempotent=True)
                state = self._records.state(provider_sub_id)
        except UnknownReference:
            return gone
        return SubState(
            provider_sub_id,
            SubStatus.CANCELED,
            auto_renew=False,
            period_end=state.period_end if state.status is SubStatus.CANCELED else None,
            provider_plan_ref=state.provider_plan_ref,
            user_ref=state.user_ref,
            as_of=state.as_of,
            is_test=state.is_test,
        )

    def resume_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        """Lets it renew again. Raises RequestRefused for one that has ended: that is bought anew."""
        state = self._records.state(provider_sub_id)
        if state.status in (SubStatus.REVOKED, SubStatus.EXPIRED, SubStatus.UNKNOWN):
            raise RequestRefused(f"{self.name} has ended this subscription")
        if state.auto_renew:
            return state
        self._api.do("POST", f"{subscription_path(provider_sub_id)}renewal/", idempotent=True)
        return self._records.state(provider_sub_id)

    def change_subscription(self, request: ChangeRequest) -> SubState:
        """Tells it the price of the renewals to come. What is due at once, where `now`, is not asked of 2Checkout.

        Raises RequestRefused for another length of the period, which 2Checkout cannot change.
        """
        seen = self._records.seen(request.provider_sub_id)
        if not _fits(seen, request.interval):
            raise RequestRefused(f"{self.name} cannot change how long a period is")
        if request.amount <= 0:
            raise RequestRefused(f"{self.name} does not renew for nothing")
        currency = request.currency
        self._api.do(
            "PUT",
            f"{subscription_path(request.provider_sub_id)}renewal/price/{currency}/",
            {
                "Cycles": PRICE_CYCLES,
                "Currency": currency,
                "Price": Money(request.amount, currency).amount,
                "Text": request.plan_ref,
            },
            idempotent=True,
        )
        return self._records.state(request.provider_sub_id)

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        """2Checkout's own page for buyers, where they sign in by e-mail."""
        return f"{self._settings.link_url}/myaccount/"

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        self._prove(raw_body)

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return webhooks.read(signature.read_form(raw_body)).key

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        notice = webhooks.read(signature.read_form(raw_body))
        return webhooks.hints(
            notice,
            provider=self.name,
            zone=self._settings.zone,
            activate_on_auth=self._settings.activate_on_auth,
        )

    def confirm_events(self, events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        return self._records.confirm(events)

    def webhook_response(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> WebhookAnswer:
        """The read receipt: without it 2Checkout delivers again for two days, whatever the status is."""
        return WebhookAnswer(body=signature.receipt(self._prove(raw_body), now))

    # parts

    def _prove(self, raw_body: bytes) -> signature.Proof:
        settings = self._settings
        return signature.prove(
            raw_body, secrets=settings.secrets, allow_md5=settings.allow_md5, max_bytes=self.max_webhook_bytes
        )

    def _needs_one_click(self) -> None:
        if not self._settings.one_click:
            raise NotSupported(f"{self.name} charges no stored methods (TWOCHECKOUT_ONE_CLICK)")

    @cached_property
    def _api(self) -> Api:
        return Api(self.name, self._settings)

    @cached_property
    def _records(self) -> Records:
        return Records(self.name, self._settings, self._api)

    @cached_property
    def _links(self) -> Links:
        return Links(self.name, self._settings)

    @cached_property
    def _payments(self) -> Payments:
        return Payments(self.name, self._settings, self._api, self._records)


def _fits(seen: Seen, interval: tuple[int, str]) -> bool:
    """Has the subscription's period that length? 2Checkout tells dates only, so that months are known by their days."""
    every, cycle = interval
    period = next((p for p in reversed(seen.purchases) if p.period_start and p.period_end), None)
    if period is None or period.period_start is None or period.period_end is None or cycle not in DAYS:
        return False
    least, most = DAYS[cycle]
    length = period.period_end - period.period_start
    hour = timedelta(hours=1)  # a change to or from summer time
    return timedelta(days=least * every) - hour <= length <= timedelta(days=most * every) + hour
