"""The adapter of Lava's Business API, flavour `lava_ru`.

A plan with a recurrent product of Lava's (its provider reference) is subscribed to: Lava charges the renewals by itself and
tells of each payment (type 1) and of each change of the subscription (type 4). A plan without one is sold by an invoice,
and so is each of its renewals. PayFlow sets the price; a product of another price is refused.
`provider_sub_id` is Lava's subscriptionId, `provider_payment_id` the invoice's id. Source: providers.md 1.5.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeVar

from payflow.core.http import dump_json
from payflow.core.money import Money
from providers.base import (
    Caps,
    ConfigFault,
    CurrencyRefused,
    LinkRequest,
    MalformedError,
    Provider,
    ProviderError,
    ProviderEvent,
    RefundResult,
    RequestRefused,
    SubRequest,
    SubResult,
    SubState,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from providers.lava.ru import api, records, webhooks
from providers.lava.ru.api import Reply, RuApi
from providers.lava.ru.config import CURRENCY, LavaRuConfig
from providers.lava.ru.records import Invoice, Subscription
from providers.lava.ru.refunds import Refunds
from providers.wire.fields import amount_of, required_text, usable_text
from providers.wire.urls import is_web_url

#: Minutes until an invoice can't be paid any more; Lava takes 1 to 7200.
EXPIRE = 300
MAX_CUSTOM = 500
MAX_URL = 2000
#: So many pages of one order may get lost before it is given up.
ATTEMPTS = 9

T = TypeVar("T")

log = logging.getLogger(__name__)


class LavaRuProvider(Provider):
    """See the module; its settings are those of `LavaRuConfig`."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._settings = LavaRuConfig.load(config)
        self._api = RuApi(name, self._settings)

    @property
    def capabilities(self) -> Caps:
        return Caps(
            create=True,
            hosted_checkout=True,
            cancel_now=True,
            cancel_at_period_end=True,
            refund_full=True,
            refund_partial=True,
            payment_link=True,
            renewal_driver="provider",
            price_set_by="payflow",
            webhooks_signed=True,
            fetch_state=True,
            unkeyed_refunds=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return self._settings.faults(debug=debug)

    def supports_currency(self, currency: str) -> bool:
        return currency == CURRENCY

    # buying

    def create_subscription(self, request: SubRequest) -> SubResult:
        amount = self._sum(request.amount, request.currency)
        if request.provider_plan_ref is None:
            return self._invoice(request, amount)
        return self._subscribe(request, request.provider_plan_ref, amount)

    def create_payment_link(self, request: LinkRequest) -> SubResult:
        return self._invoice(request, self._sum(request.amount, request.currency))

    # money

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        return self._refunds.make(
            invoice=provider_txn_id, amount=amount, currency=currency, reason=reason, idempotency_key=idempotency_key
        )

    def find_refund(self, provider_refund_id: str) -> RefundResult:
        return self._refunds.find(provider_refund_id)

    # its subscription

    def get_subscription(self, provider_sub_id: str) -> SubState:
        subscription, at = self._subscription(subscriptionId=provider_sub_id)
        return subscription.state(at)

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        """Lava lists no payments: of those after `since` the one that its invoice by our order shows, then the state."""
        subscription, at = self._subscription(subscriptionId=provider_sub_id)
        key, found = f"lavaru:records:{provider_sub_id}:{at:%Y%m%dT%H%M%SZ}", list[ProviderEvent]()
        invoice = self._found(self._invoice_of, subscription.order_id) if subscription.order_id else None
        paid_at = subscription.paid_at or at
        if invoice is not None and invoice.is_paid and paid_at >= since:
            found.append(
                invoice.payment(provider=self.name, event_id=f"{key}#0", subscription=provider_sub_id, at=paid_at)
            )
        state = subscription.state_event(provider=self.name, event_id=f"{key}#{len(found)}", at=max(at, paid_at))
        return [*found, state] if state else found

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        """Lava charges no more. It is one call: what was paid is ours to end, at once or later."""
        try:
            state = self.get_subscription(provider_sub_id)
            if state.status is not SubStatus.CANCELED:
                self._unsubscribe(provider_sub_id)
        except UnknownReference:
            return SubState(provider_sub_id, SubStatus.CANCELED, auto_renew=False)
        return replace(state, status=SubStatus.CANCELED, auto_renew=False)

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        webhooks.verify(
            headers.get(webhooks.SIGNATURE_HEADER),
            raw_body,
            secrets=self._settings.secrets,
            max_bytes=self.max_webhook_bytes,
        )

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return webhooks.read(raw_body).delivery_key

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        return webhooks.events(webhooks.read(raw_body), provider=self.name)

    def confirm_events(self, events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        """A payment is proven by its delivery; a subscription's state is read again, for its dates are not in there."""
        return [proven for event in events for proven in (self._reread(event) if webhooks.is_hint(event) else [event])]

    # steps

    def _reread(self, hint: ProviderEvent) -> list[ProviderEvent]:
        order = webhooks.order_of(hint.raw)
        named = {"subscriptionId": hint.provider_sub_id} if hint.provider_sub_id else {"orderId": order}
        try:
            subscription, at = self._subscription(**named)
        except UnknownReference as error:
            raise Unavailable(f"{self.name} does not show yet what it told of") from error
        event = subscription.state_event(provider=self.name, event_id=hint.event_id, at=at)
        return [replace(event, raw=hint.raw)] if event else []

    def _sum(self, amount: Decimal, currency: str) -> Decimal:
        if not self.supports_currency(currency):
            raise CurrencyRefused(f"{self.name} sells in {CURRENCY} only")
        if amount <= 0:
            raise RequestRefused(f"{self.name} makes no invoice of nothing")
        return Money(amount, currency).amount

    def _invoice(self, request: SubRequest | LinkRequest, amount: Decimal) -> SubResult:
        custom = dump_json({"user_id": request.user_ref, "plan_id": request.plan_ref}).decode()
        if len(custom) > MAX_CUSTOM:
            raise RequestRefused(f"{self.name} takes {MAX_CUSTOM} characters of custom fields")
        for attempt in range(1, ATTEMPTS + 1):
            order = records.order_id(request.order_ref, attempt)
            lost = self._found(self._invoice_of, order)
            if lost is not None and lost.is_paid:
                return SubResult(None, None, "active")
            if lost is not None:
                continue  # its page got lost with its answer; nobody can pay it
            body = {
                "sum": amount,
                "orderId": order,
                "hookUrl": request.hook_url,
                "successUrl": _bare(request.success_url),
                "failUrl": _bare(request.fail_url),
                "expire": EXPIRE,
                "customFields": custom,
            }
            data = self._api.do(api.INVOICE_CREATE, body).data
            log.info("lava: invoice %s for order %s", usable_text(data.get("id")), order)
            return SubResult(None, self._page(data), "pending")
        raise RequestRefused(f"{self.name} has lost too many pages of this order")

    def _subscribe(self, request: SubRequest, product: str, amount: Decimal) -> SubResult:
        """Raises RequestRefused where the product costs something else than was asked."""
        for attempt in range(1, ATTEMPTS + 1):
            order = records.order_id(request.order_ref, attempt)
            lost = self._found(self._subscription_of, order)
            if lost is not None and lost.status in (SubStatus.ACTIVE, SubStatus.ON_HOLD):
                return SubResult(lost.id, None, "active")
            if lost is not None:
                self._withdraw(lost)
                continue
            self._consumer(request)
            body = {"productId": product, "consumerId": request.user_ref, "orderId": order}
            data = self._api.do(api.SUBSCRIBE, body).data
            subscription = self._required(data, "subscriptionId")
            if amount_of(data.get("amount")) != amount:
                self._unsubscribe(subscription)
                log.error("lava: product %s does not cost what plan %s does", product, request.plan_ref)
                raise RequestRefused(f"{self.name} has another price for this product")
            log.info("lava: subscription %s for order %s", subscription, order)
            return SubResult(subscription, self._page(data), "pending")
        raise RequestRefused(f"{self.name} has lost too many pages of this order")

    def _consumer(self, request: SubRequest) -> None:
        """Lava refuses one that it knows; whether it knows him, subscribing shows."""
        with suppress(RequestRefused):
            self._api.do(api.CONSUMER_CREATE, {"consumerId": request.user_ref, "email": request.email})

    def _withdraw(self, lost: Subscription) -> None:
        """A subscription whose page got lost with its answer: nobody can pay it, and it shall not stay open."""
        if lost.status is SubStatus.PENDING:
            self._unsubscribe(lost.id)

    def _unsubscribe(self, subscription: str) -> None:
        """Raises RequestRefused where Lava says that it has not."""
        if self._api.do(api.UNSUBSCRIBE, {"subscriptionId": subscription}).data.get("unsubscribed") is not True:
            raise RequestRefused(f"{self.name} has not ended this subscription")

    # what it shows

    def _subscription(self, **named: str | None) -> tuple[Subscription, datetime]:
        reply = self._api.ask(api.SUBSCRIPTION_STATUS, named)
        return self._read(reply, records.read_subscription), reply.at

    def _subscription_of(self, order: str) -> Subscription:
        return self._subscription(orderId=order)[0]

    def _invoice_of(self, order: str) -> Invoice:
        return self._read(self._api.ask(api.INVOICE_STATUS, {"orderId": order}), records.read_invoice)

    def _read(self, reply: Reply, read: Callable[[Mapping[str, Any]], T]) -> T:
        try:
            return read(reply.data)
        except MalformedError as error:
            log.warning("%s: a record cannot be read: %s", self.name, error)
            raise Unavailable(f"{self.name} shows a record that cannot be read") from error

    def _found(self, ask: Callable[[str], T], order: str) -> T | None:
        try:
            return ask(order)
        except UnknownReference:
            return None

    def _page(self, data: Mapping[str, Any]) -> str:
        url = usable_text(data.get("url"), MAX_URL)
        if url is None or not is_web_url(url):
            raise ProviderError("Lava's answer has no page to pay at")
        return url

    def _required(self, data: Mapping[str, Any], name: str) -> str:
        try:
            return required_text(data, name, 100)
        except MalformedError as error:
            raise ProviderError(f"Lava's answer has no {name}") from error

    @cached_property
    def _refunds(self) -> Refunds:
        return Refunds(self.name, self._api)


def _bare(url: str) -> str:
    """Without its query, for which Lava refuses the invoice [from public integrations]."""
    return url.partition("?")[0]
