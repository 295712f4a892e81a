"""Subscriptions of Stripe Billing: make, look at, cancel, resume, pause, change."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from providers.base import (
    ChangeRequest,
    RequestRefused,
    SubRequest,
    SubResult,
    SubState,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from providers.stripe import requests
from providers.stripe.client import Declined, Json, StripeApi
from providers.stripe.config import StripeConfig
from providers.stripe.state import is_ending, state_of
from providers.stripe.wire import Object, id_of, item_of, price_of, required_id, section


class Billing:
    """The calls of billing mode. Each POST has a key: `<the caller's>`, with a suffix where one wish takes several."""

    def __init__(self, api: StripeApi, settings: StripeConfig) -> None:
        self._api = api
        self._settings = settings

    def read(self, provider_sub_id: str) -> tuple[Json, datetime]:
        """The subscription and Stripe's time of the answer. Raises UnknownReference."""
        return self._api.ask_dated(lambda client: client.v1.subscriptions.retrieve(provider_sub_id))

    def state(self, provider_sub_id: str) -> SubState:
        subscription, as_of = self.read(provider_sub_id)
        return self._state(subscription, as_of)

    def create_with_method(self, request: SubRequest) -> SubResult:
        """As accounts without Checkout and Prices do: a customer, his method, a subscription of a Plan.

        `metadata["payment_method"]` is the PaymentMethod that the app's own form made.
        """
        method = request.metadata.get("payment_method")
        if not method:
            raise RequestRefused("without Checkout a PaymentMethod of the app's form is needed")
        requests.price_ref(request.provider_plan_ref)
        try:
            customer = self._customer_with(method, request)
            body: Any = requests.legacy_subscription(request, customer=customer)
            options = self._key(request.idempotency_key, "subscription")
            subscription = self._api.ask(lambda client: client.v1.subscriptions.create(body, options))
        except Declined as declined:
            raise RequestRefused("Stripe declined the payment method (402)") from declined
        state = state_of(subscription)
        status = "active" if state.status in (SubStatus.ACTIVE, SubStatus.TRIAL) else "pending"
        return SubResult(provider_sub_id=state.provider_sub_id, checkout_url=None, status=status)

    def cancel(self, provider_sub_id: str, *, at_period_end: bool, key: str) -> SubState:
        """What is gone, or has ended already, is CANCELED."""
        try:
            if at_period_end:
                subscription, as_of = self._update(provider_sub_id, {"cancel_at_period_end": True}, key)
            else:
                subscription, as_of = self._api.ask_dated(
                    lambda client: client.v1.subscriptions.cancel(provider_sub_id)
                )
        except (UnknownReference, RequestRefused) as refused:
            return self._canceled_already(provider_sub_id, refused)
        return _as_canceled(self._state(subscription, as_of))

    def resume(self, provider_sub_id: str, *, key: str) -> SubState:
        """Ends a pause, or takes a cancellation back; where there is neither, nothing is done."""
        subscription, as_of = self.read(provider_sub_id)
        if subscription.get("status") == "paused":  # its trial ended without a method
            body: Any = {"billing_cycle_anchor": "now"}
            options = self._key(key)
            subscription, as_of = self._api.ask_dated(
                lambda client: client.v1.subscriptions.resume(provider_sub_id, body, options)
            )
        elif change := _taking_back(subscription):
            subscription, as_of = self._update(provider_sub_id, change, key)
        state = self._state(subscription, as_of)
        if state.status is SubStatus.EXPIRED:
            raise RequestRefused("a subscription that has ended is not resumed")
        return state

    def pause(self, provider_sub_id: str, *, key: str) -> SubState:
        """The invoices of the pause are void: nobody owes them afterwards."""
        subscription, as_of = self._update(provider_sub_id, {"pause_collection": {"behavior": "void"}}, key)
        return self._state(subscription, as_of)

    def change(self, request: ChangeRequest) -> SubState:
        """Another Price. `now`: what is left of the old one is settled by an invoice at once, and nothing changes where
        that is not paid. Else the price changes from the next renewal on, within the same cycle only: another cycle
        would begin at once at Stripe.
        """
        price = requests.price_ref(request.provider_plan_ref)
        subscription, as_of = self.read(request.provider_sub_id)
        item = item_of(subscription)
        if price_of(item) == price:
            return self._state(subscription, as_of)
        change: Json = {"items": [{"id": required_id(item.get("id"), "item"), self._price_field: price}]}
        if request.now:
            change |= {"proration_behavior": "always_invoice"}
            if not self._settings.legacy_plans:
                change |= {"payment_behavior": "error_if_incomplete"}
        else:
            self._refuse_another_cycle(item, price)
            change |= {"proration_behavior": "none"}
        try:
            subscription, as_of = self._update(request.provider_sub_id, change, request.idempotency_key)
        except Declined as declined:
            raise RequestRefused("Stripe declined the payment of the change (402)") from declined
        return self._state(subscription, as_of)

    # steps

    @property
    def _price_field(self) -> str:
        return "plan" if self._settings.legacy_plans else "price"

    def _customer_with(self, method: str, request: SubRequest) -> str:
        body: Any = requests.customer(request)
        options = self._key(request.idempotency_key, "customer")
        customer = id_of(self._api.ask(lambda client: client.v1.customers.create(body, options)).get("id"))
        if customer is None:
            raise Unavailable("Stripe answered something else than a customer")
        attach: Any = {"customer": customer}
        options_attach = self._key(request.idempotency_key, "attach")
        attached = self._api.ask(lambda client: client.v1.payment_methods.attach(method, attach, options_attach))
        # A shortcut of test mode (pm_card_visa) becomes a method with an id of its own.
        default: Any = {"invoice_settings": {"default_payment_method": id_of(attached.get("id")) or method}}
        options_default = self._key(request.idempotency_key, "default")
        self._api.ask(lambda client: client.v1.customers.update(customer, default, options_default))
        return customer

    def _update(self, provider_sub_id: str, change: Json, key: str) -> tuple[Json, datetime]:
        body: Any = change
        options = self._key(key)
        return self._api.ask_dated(lambda client: client.v1.subscriptions.update(provider_sub_id, body, options))

    def _canceled_already(self, provider_sub_id: str, refused: RequestRefused | UnknownReference) -> SubState:
        try:
            state = self.state(provider_sub_id)
        except UnknownReference:
            return SubState(provider_sub_id, SubStatus.CANCELED, auto_renew=False)
        if state.status not in (SubStatus.EXPIRED, SubStatus.CANCELED):
            raise refused
        return _as_canceled(state)

    def _refuse_another_cycle(self, item: Object, price: str) -> None:
        new = self._api.ask(lambda client: client.v1.prices.retrieve(price))
        if _cycle(section(item, "price", "recurring")) != _cycle(section(new, "recurring")):
            raise RequestRefused("Stripe begins another cycle at once: change it now, or after the period's end")

    def _state(self, subscription: Object, as_of: datetime) -> SubState:
        is_test = self._settings.is_live and subscription.get("livemode") is not True
        return state_of(subscription, as_of=as_of, is_test=is_test)

    def _key(self, key: str, step: str = "") -> Any:
        """The options of a POST; without a key the library makes one."""
        return {"idempotency_key": f"{key}:{step}" if step else key} if key else {}


def _taking_back(subscription: Object) -> Json:
    if section(subscription, "pause_collection"):
        return {"pause_collection": ""}
    if subscription.get("cancel_at_period_end") is True:
        return {"cancel_at_period_end": False}
    return {"cancel_at": ""} if is_ending(subscription) else {}


def _as_canceled(state: SubState) -> SubState:
    return replace(state, status=SubStatus.CANCELED, auto_renew=False)


def _cycle(recurring: Object) -> tuple[object, object]:
    return recurring.get("interval"), recurring.get("interval_count")
