"""What a delivery leaves out, read at Stripe: a stored method, whose payment was reversed, the refunds of a charge."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from providers.base import EventType, ProviderError, ProviderEvent, StoredMethod, Unavailable, UnknownReference
from providers.stripe.client import Json, StripeApi
from providers.stripe.config import StripeConfig
from providers.stripe.money import of_minor
from providers.stripe.notice import extract
from providers.stripe.wire import id_of, refs_of, section, stored_method

REVERSALS = frozenset(
    {
        EventType.PAYMENT_REFUNDED,
        EventType.PAYMENT_REFUND_REVERSED,
        EventType.PAYMENT_DISPUTED,
        EventType.PAYMENT_DISPUTE_WON,
        EventType.PAYMENT_DISPUTE_LOST,
    }
)

log = logging.getLogger(__name__)


class Confirmer:
    def __init__(self, api: StripeApi, settings: StripeConfig) -> None:
        self._api = api
        self._settings = settings

    def confirm(self, events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        """Raises Unavailable. What was confirmed may be confirmed again, and stays the same."""
        return [found for event in events for found in self._confirmed(event)]

    def _confirmed(self, event: ProviderEvent) -> Iterator[ProviderEvent]:
        if event.type is EventType.SUBSCRIPTION_ACTIVATED and event.raw.get("mode") == "setup":
            yield self._with_method(event)
        elif event.type is EventType.PAYMENT_SUCCEEDED and event.method is not None and not event.method.last4:
            yield replace(event, method=self._with_card(event.method))
        elif event.type in REVERSALS:
            yield from self._reversal(event)
        else:
            yield event

    # methods

    def _with_method(self, event: ProviderEvent) -> ProviderEvent:
        """A trial without its method could never be charged: it waits until Stripe shows one."""
        setup_intent = id_of(event.raw.get("setup_intent")) or ""
        params: Any = {"expand": ["payment_method"]}
        setup = self._api.ask(lambda client: client.v1.setup_intents.retrieve(setup_intent, params))
        customer = setup.get("customer") or event.raw.get("customer")
        method = stored_method(customer, setup.get("payment_method"), section(setup, "payment_method"))
        if setup.get("status") != "succeeded" or method is None:
            raise Unavailable("Stripe has not stored the method yet")
        return replace(event, method=method)

    def _with_card(self, method: StoredMethod) -> StoredMethod:
        """For the customer's eyes only, so nothing waits for it."""
        try:
            found = self._api.ask(lambda client: client.v1.payment_methods.retrieve(method.method_ref))
        except ProviderError as error:
            log.info("stripe: a stored method's card is not shown: %s", type(error).__name__)
            return method
        return stored_method(method.customer_ref, method.method_ref, found) or method

    # money that moved back

    def _reversal(self, event: ProviderEvent) -> Iterator[ProviderEvent]:
        """Under its payment, as we know that; nothing where the payment is none of ours."""
        intent = id_of(event.raw.get("payment_intent"))
        payment = self._payment(intent) if intent else event.parent_payment_id
        if payment is None:
            log.info("stripe: money moved back that was never ours")
        elif event.raw.get("object") == "charge" and ":" in (event.provider_payment_id or ""):
            yield from self._refunds_of(event, payment)
        else:
            yield replace(event, parent_payment_id=payment)

    def _payment(self, intent: str) -> str | None:
        """Our id of what a PaymentIntent paid: itself where we made it, in billing mode its invoice."""
        if self._settings.bills_itself:
            return self._invoice(intent)
        try:
            found = self._api.ask(lambda client: client.v1.payment_intents.retrieve(intent))
        except UnknownReference:
            return None
        return intent if refs_of(found.get("metadata")).is_ours and found.get("invoice") is None else None

    def _invoice(self, intent: str) -> str | None:
        if self._settings.legacy_plans:
            return id_of(self._api.ask(lambda client: client.v1.payment_intents.retrieve(intent)).get("invoice"))
        params: Any = {"payment": {"type": "payment_intent", "payment_intent": intent}, "limit": 1}
        page = self._api.ask(lambda client: client.v1.invoice_payments.list(params))
        return next((id_of(item.get("invoice")) for item in page.get("data") or []), None)

    def _refunds_of(self, event: ProviderEvent, payment: str) -> Iterator[ProviderEvent]:
        charge = id_of(event.raw.get("id"))
        listed: list[Json] = list(self._api.pages(lambda client, params: client.v1.refunds.list(params), charge=charge))
        through = [refund for refund in listed if refund.get("status") == "succeeded"]
        delivery = event.event_id.rpartition("#")[0]
        for n, refund in enumerate(reversed(through)):
            yield replace(
                event,
                event_id=f"{delivery}#{n}",
                provider_payment_id=id_of(refund.get("id")),
                parent_payment_id=payment,
                idempotency_key=refs_of(refund.get("metadata")).key,
                amount=of_minor(refund.get("amount"), event.currency or ""),
                raw=extract(refund),
            )
