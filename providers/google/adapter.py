"""The adapter of Google Play Billing.

The app sells; Google charges, renews and is the seller. The purchase token is the subscription's id here, and lets us ask
about it: it is sent by the app (`attach_purchase`) and in each notification, which is a hint only. What is true is read
at the Play Developer API. Source: providers.md 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from payflow.core import clock
from providers.base import (
    Caps,
    ConfigFault,
    Provider,
    ProviderEvent,
    RefundResult,
    RequestRefused,
    SubState,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from providers.google import confirm, notices, push
from providers.google.api import PlayApi
from providers.google.config import GoogleConfig
from providers.google.records import Purchase, usable_token
from providers.google.state import state_of, status_of
from providers.google.transport import Certificates, Transport

MANAGE_URL = "https://play.google.com/store/account/subscriptions"
#: The list of voided purchases goes back 30 days, by Google's clock; a later end than its now is refused.
VOIDED_KEPT = timedelta(days=30)
CLOCKS_DIFFER = timedelta(minutes=1)
#: What renews no more, however it came to it.
OVER = frozenset({SubStatus.CANCELED, SubStatus.EXPIRED})


class GoogleProvider(Provider):
    """See the module; its settings are those of `GoogleConfig`."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._settings = GoogleConfig.load(config)
        transport = Transport(name, answer_seconds=self._settings.answer_seconds)
        self._certificates = Certificates(transport)
        self._api = PlayApi(name, self._settings, transport)

    @property
    def capabilities(self) -> Caps:
        return Caps(
            attach=True,
            cancel_now=True,
            cancel_at_period_end=True,
            refund_full=True,
            renewal_driver="provider",
            price_set_by="provider",
            merchant_of_record=True,
            grace=True,
            webhooks_signed=True,
            fetch_state=True,
            test_mode=True,
            acknowledge=True,
            feed=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return self._settings.faults(debug=debug)

    # buying

    def attach_purchase(self, *, user_ref: str, token: str) -> SubState:
        """Whose it is Google says, if the app told it: the receiver compares `user_ref` with the state's."""
        if usable_token(token) != token:
            raise RequestRefused(f"{self.name}: this is no purchase token that can be kept")
        return state_of(self._api.purchase(token))

    def acknowledge_purchase(self, provider_sub_id: str, *, idempotency_key: str = "") -> None:
        purchase = self._api.purchase(provider_sub_id)
        if not purchase.unacknowledged:
            return
        lines = purchase.current or purchase.lines
        if not lines:
            raise RequestRefused(f"{self.name} shows no product of the purchase")
        try:
            self._api.acknowledge(lines[0].product_id, provider_sub_id)
        except RequestRefused:
            # Google refuses a second time: somebody else was as quick, or our first call arrived after all.
            if self._api.purchase(provider_sub_id).unacknowledged:
                raise

    # its state

    def get_subscription(self, provider_sub_id: str) -> SubState:
        return state_of(self._api.purchase(provider_sub_id))

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        return confirm.happened(provider_sub_id, since=since, api=self._api, provider=self.name)

    def missed_events(self, *, since: datetime, until: datetime) -> Iterator[ProviderEvent]:
        """Refunds and chargebacks of 30 days. Of purchases Google keeps no list: `fetch_events` asks about each."""
        wall = clock.wall()
        return confirm.voided(
            since=max(since, max(until, wall) - VOIDED_KEPT + CLOCKS_DIFFER),
            until=until if until < wall - CLOCKS_DIFFER else None,  # None: Google's own now
            api=self._api,
            provider=self.name,
        )

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        """The subscription itself where its product is known, else the list of all."""
        sku = (provider_plan_ref or "").partition(":")[0]
        known = {"sku": sku} if sku and "+" not in (provider_plan_ref or "") else {}
        return f"{MANAGE_URL}?{urlencode({**known, 'package': self._settings.package_name})}"

    # ending it

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        """At once only with the unused time's money back: Google ends nothing early without. Has all of it gone back
        already, then it stops renewing, and no more is refunded."""
        try:
            purchase = self._api.purchase(provider_sub_id)
            if at_period_end or not self._has_money_left(purchase):
                self._ask(self._api.stop_renewing, purchase, _renews_no_more)
            else:
                self._ask(self._api.revoke, purchase, _is_over)
            state = state_of(self._api.purchase(provider_sub_id))
        except UnknownReference:
            state = SubState(provider_sub_id, SubStatus.CANCELED)  # gone: it renews no more
        return replace(state, status=SubStatus.CANCELED, auto_renew=False)

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        """Google gives back a whole order or none of it, under one id: asked twice, it is given back once."""
        order = self._api.order(provider_txn_id)
        if order.paid_at is None or (currency and currency != order.currency):
            raise RequestRefused(f"{self.name}: the order took no such money")
        if amount is not None and amount != order.rest:
            raise RequestRefused(f"{self.name} gives back whole orders only")
        if order.state == "REFUNDED":
            return RefundResult("succeeded", order.order_id, order.rest)
        if order.rest <= 0:
            raise RequestRefused(f"{self.name} has given all of the order back")
        if order.state != "PENDING_REFUND":
            self._api.refund(provider_txn_id)
            after = self._api.order(provider_txn_id)
            if after.state == "REFUNDED":
                return RefundResult("succeeded", order.order_id, order.rest)
        return RefundResult("pending", order.order_id, order.rest)

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        push.verify(
            headers,
            raw_body,
            config=self._settings,
            certificates=self._certificates,
            now=now,
            max_bytes=self.max_webhook_bytes,
        )

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return push.read(raw_body).delivery_key

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        return notices.hints(push.read(raw_body), provider=self.name, package_name=self._settings.package_name)

    def confirm_events(self, events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        return confirm.confirmed(events, api=self._api, provider=self.name)

    # what is asked first

    def _has_money_left(self, purchase: Purchase) -> bool:
        """Would ending it at once give money back? A trial, and what was refunded, has none."""
        try:
            orders = [self._api.order(order_id) for order_id in purchase.order_ids]
        except UnknownReference as error:
            raise Unavailable(f"{self.name} does not show the order of a purchase") from error
        return any(order.total > 0 and order.refunded_at is None and order.rest > 0 for order in orders)

    def _ask(self, command: Callable[[str], None], purchase: Purchase, done: Callable[[Purchase], bool]) -> None:
        """Nothing is asked that is done. Google refuses what was done meanwhile: then that is well."""
        if done(purchase):
            return
        try:
            command(purchase.token)
        except RequestRefused:
            if not done(self._api.purchase(purchase.token)):
                raise


def _renews_no_more(purchase: Purchase) -> bool:
    return status_of(purchase) in OVER or not purchase.renews


def _is_over(purchase: Purchase) -> bool:
    return status_of(purchase) == SubStatus.EXPIRED
