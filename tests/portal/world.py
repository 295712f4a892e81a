"""Customers as the services make them, without anybody asking a provider for a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from payflow.core import clock
from payments.models import PaymentTransaction
from plans.seeds import plans_seed
from plans.selectors import plan_get
from providers.base import Decline, EventType, Outcome, PaymentResult, ProviderEvent, StoredMethod
from subscriptions.models import Checkout, Subscription
from subscriptions.services import due, subscribe
from subscriptions.services.provider_events import provider_event_apply
from tests.factories import UserFactory

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
MONTH = timedelta(days=31)


class World:
    """The documents' plans, a clock that stands still at `now`, and providers whose answers the test chooses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        plans_seed(at=NOW)
        monkeypatch.setattr("payflow.core.clock.now", lambda: self.now)
        for module in (subscribe, due):
            monkeypatch.setattr(module, "checkout_open", self._open)

    def _open(self, *, checkout_id) -> Checkout:
        checkout = Checkout.objects.get(pk=checkout_id)
        checkout.url, checkout.status = f"https://pay.example/{checkout.order_ref}", Checkout.Status.OPEN
        checkout.save()
        return checkout

    def order(self, user=None, plan: str = "premium", **changes) -> Subscription:
        """A free plan is active at once, a paid one waits for its payment."""
        fields = {"provider": None, "currency": None, "success_url": "", "cancel_url": "", "actor": "test"}
        user = user or UserFactory()
        return subscribe.subscription_create(
            user_id=user.pk, plan=plan_get(plan), now=self.now, **{**fields, **changes}
        ).subscription

    def paid(self, user=None, plan: str = "premium", **changes) -> Subscription:
        """Active, its first month paid with a card ending in 4242."""
        subscription = self.order(user, plan, **changes)
        self.report(subscription.checkouts.get(), EventType.PAYMENT_SUCCEEDED)
        subscription.refresh_from_db()
        return subscription

    def report(self, checkout: Checkout, type: EventType, **changes) -> None:
        """What the provider tells of a checkout."""
        key = uuid4().hex
        event = {
            "provider": checkout.provider,
            "event_id": f"{key}#0",
            "type": type,
            "occurred_at": self.now,
            "provider_payment_id": f"pay_{key}",
            "order_ref": checkout.order_ref,
            "amount": checkout.amount,
            "currency": checkout.currency,
            "method": StoredMethod(method_ref=f"pm_{key}", customer_ref="cus", brand="visa", last4="4242"),
        }
        provider_event_apply(event=ProviderEvent(**{**event, **changes}), now=self.now)

    def charges_answer(self, monkeypatch: pytest.MonkeyPatch, result: PaymentResult | Exception) -> None:
        def charge(_self, _request):
            if isinstance(result, Exception):
                raise result
            return replace(result, provider_txn_id=uuid4().hex)

        monkeypatch.setattr("providers.sandbox.adapter.SandboxProvider.charge", charge)

    def due(self, *, after: timedelta = MONTH) -> None:
        """Time passes, and what falls due is done."""
        self.now += after
        for _ in range(10):
            if not due.due_sweep(now=self.now, wall=clock.wall()):
                return
        raise AssertionError("the sweep finds no end")


DECLINED = PaymentResult(Outcome.DECLINED, "pay_declined", Decline("insufficient_funds", recoverable=True))
SUCCEEDED = PaymentResult(Outcome.SUCCEEDED, "pay_renewed")


def refund_all(world: World, charge: PaymentTransaction, amount: str = "6.99") -> None:
    world.report(
        Checkout.objects.get(subscription=charge.subscription),
        EventType.PAYMENT_REFUNDED,
        provider_payment_id="re_1",
        parent_payment_id=charge.provider_txn_id,
        amount=Decimal(amount),
        method=None,
    )
