"""The adapter of lava.top's public API, flavour `lava_top`.

A plan is an offer of lava.top's cabinet (its provider reference). Lava charges the renewals by itself and reports each.
PayFlow sets the price, though the offer has one: a webhook names a product, of which there may be several offers at
several prices, so that only the amount can say whether what was paid is what was sold. Where they differ nothing is sold.
`provider_sub_id` is the first contract's id, `provider_payment_id` the contract of each charge. Source: providers.md 1.4.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from payflow.core.money import Money
from providers.base import (
    Caps,
    ConfigFault,
    CurrencyRefused,
    MalformedError,
    NotSupported,
    Provider,
    ProviderError,
    ProviderEvent,
    RequestRefused,
    SubRequest,
    SubResult,
    SubState,
    SubStatus,
    UnknownReference,
)
from providers.lava.top import webhooks
from providers.lava.top.api import TopApi
from providers.lava.top.config import LavaTopConfig
from providers.lava.top.offers import offer_of
from providers.lava.top.records import UTM_SOURCE, mapping
from providers.lava.top.truth import Records
from providers.wire.fields import amount_of, required_text, usable_text
from providers.wire.urls import is_web_url

CURRENCIES = frozenset({"RUB", "USD", "EUR"})
MAX_URL = 2000

log = logging.getLogger(__name__)


class LavaTopProvider(Provider):
    """See the module; its settings are those of `LavaTopConfig`."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._settings = LavaTopConfig.load(config)
        self._api = TopApi(name, self._settings)
        self._records = Records(name, self._api)

    @property
    def capabilities(self) -> Caps:
        return Caps(
            create=True,
            hosted_checkout=True,
            cancel_at_period_end=True,
            renewal_driver="provider",
            price_set_by="payflow",
            webhooks_signed=False,
            fetch_state=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return self._settings.faults(debug=debug)

    def supports_currency(self, currency: str) -> bool:
        return currency in CURRENCIES

    # buying

    def create_subscription(self, request: SubRequest) -> SubResult:
        """lava.top knows no idempotency key: whether the order is paid already is looked up first. An unpaid contract
        whose page got lost with its answer can be paid by nobody, and another is made.

        Raises RequestRefused where the offer costs something else than was asked.
        """
        offer = offer_of(request.provider_plan_ref, request.interval)
        self._check_price(request)
        paid = self._records.paid_contract_of(request.order_ref)
        if paid is not None:
            return SubResult(paid.subscription or paid.id, None, "active")
        answer = self._api.create(
            {
                "email": request.email,
                "offerId": offer.id,
                "currency": request.currency,
                "periodicity": offer.periodicity,
                "clientUtm": {"utm_source": UTM_SOURCE, "utm_content": request.order_ref},
                "successful_return_url": request.success_url,
                "failure_return_url": request.fail_url,
                "cancel_return_url": request.cancel_url,
            }
        )
        return self._opened(answer, request)

    # its subscription

    def get_subscription(self, provider_sub_id: str) -> SubState:
        return self._records.seen(provider_sub_id)[0]

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        return self._records.since(provider_sub_id, since)

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        """The buyer's address is lava.top's own record of it; `email` only where that has none."""
        if not at_period_end:
            raise NotSupported(f"{self.name} cancels at the period's end only")
        try:
            state, buyer = self._records.seen(provider_sub_id)
            if state.auto_renew is not False:
                self._api.cancel(provider_sub_id, buyer or email)
        except UnknownReference:
            return SubState(provider_sub_id, SubStatus.CANCELED, auto_renew=False)
        return replace(state, status=SubStatus.CANCELED, auto_renew=False)

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        settings = self._settings
        webhooks.verify(
            headers, raw_body, user=settings.webhook_user, secrets=settings.secrets, max_bytes=self.max_webhook_bytes
        )

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return webhooks.read(raw_body).delivery_key

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        return webhooks.hints(webhooks.read(raw_body), provider=self.name)

    def confirm_events(self, events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        return self._records.confirm(events)

    # steps

    def _check_price(self, request: SubRequest) -> None:
        if not self.supports_currency(request.currency):
            raise CurrencyRefused(f"{self.name} sells in {', '.join(sorted(CURRENCIES))} only")
        if request.amount <= 0:
            raise RequestRefused(f"{self.name} makes no invoice of nothing")

    def _opened(self, answer: Mapping[str, Any], request: SubRequest) -> SubResult:
        try:
            contract, total = required_text(answer, "id", 100), mapping(answer.get("amountTotal"))
            price = (amount_of(total.get("amount")), total.get("currency"))
        except MalformedError as error:
            raise ProviderError("lava.top's answer names no contract, or no price") from error
        if price != (Money(request.amount, request.currency).amount, request.currency):
            log.error("lava.top: the offer of plan %s does not cost what the plan does", request.plan_ref)
            raise RequestRefused(f"{self.name} has another price for this offer")
        url = usable_text(answer.get("paymentUrl"), MAX_URL)
        if url is None or not is_web_url(url):
            raise ProviderError("lava.top's answer has no page to pay at")
        log.info("lava.top: contract %s for order %s", contract, request.order_ref)
        return SubResult(contract, url, "pending")
