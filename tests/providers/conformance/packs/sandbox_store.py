"""The sandbox that plays an app store: bought in the app, attached and acknowledged, changed by its subscriber alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from payflow.core import clock
from payflow.core.ids import uuid7
from providers.sandbox import subscriptions
from providers.sandbox.models import Behaviour
from providers.sandbox.subscription_inputs import PurchaseInput
from tests.providers.conformance.pack import Golden, Order, Purchase, Step
from tests.providers.conformance.packs.sandbox import SandboxPeer
from tests.providers.conformance.packs.sandbox_billing import (
    ACCOUNT,
    PRODUCT,
    SandboxBillingPack,
    SandboxBillingPeer,
    keep_product,
)
from tests.providers.conformance.stage import PRICE, Stage

#: The store gives the trials itself: a product has one, or has none.
TRIAL_PRODUCT = "product_with_a_trial"


class SandboxStorePeer(SandboxBillingPeer):
    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        product = PRODUCT
        if step is Step.TRIAL_STARTED:
            product = TRIAL_PRODUCT
            keep_product(product, PRICE, trial_days=order.trial_days)
        bought, _ = subscriptions.purchase_create(
            account=ACCOUNT,
            key=uuid7().hex,
            wanted=PurchaseInput(
                product_ref=product,
                user_ref=order.user_ref,
                order_ref=order.order_ref,
                behaviour=Behaviour.OK,
                replaces="",
                is_test=False,
            ),
            now=self.now,
            wall=clock.wall(),
        )
        return self._bought(order, bought)

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        """Of what was acknowledged when it was bought: else it would go back after three days."""
        self._do(subscriptions.subscription_acknowledge, purchase, now=self._row(purchase).anchor)
        super().play(step, purchase, stage)


class SandboxStorePack(SandboxBillingPack):
    name = "sandbox-store"
    mode = "store"
    other_product = None
    steps = frozenset(Step) - {Step.DECLINED, Step.PAUSED}

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        # As in a store's console: no call says where its news go.
        return super().config(api, **{"hook_url": f"{settings.PAYFLOW_BASE_URL}/webhooks/{self.name}", **changes})

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[SandboxPeer]:
        yield SandboxStorePeer(shop_url)

    def goldens(self) -> Sequence[Golden]:
        return ()


PACK = SandboxStorePack()
