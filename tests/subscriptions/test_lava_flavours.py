"""PayFlow with lava.ru and lava.top, whole: a purchase, a renewal and a cancellation over HTTP both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from payflow.core import clock
from plans.models import PlanProviderRef
from providers import registry
from subscriptions.models import Checkout, Subscription
from subscriptions.services.reconciliation import subscription_reconcile
from tests.conftest import Api
from tests.emulators.lava import LavaRuEmulator, LavaTopEmulator
from tests.emulators.lava.flavour import Flavour
from tests.factories import PlanFactory
from tests.flows import Shop, charges, fresh
from tests.providers.lava_flavours import OFFER, PRODUCT, lava_ru, lava_top, ru_emulator, top_emulator
from tests.providers.lava_support import click
from webhooks.models import InboundEvent

DAY = timedelta(days=1)


def told(lava: Flavour, shop: Shop) -> None:
    """Lava's clock is the shop's: what happens there now is of the shop's today."""
    lava.ahead += shop.now - lava.now()


@pytest.fixture(params=["lava_ru", "lava_top"])
def lava(request: Any, shop: Shop, settings: Any, live_server: Any) -> Iterator[Flavour]:
    hook_url = f"{live_server.url}/webhooks/flavour"
    make: dict[str, Callable[[], Flavour]] = {
        "lava_ru": lambda: ru_emulator(hook_url),
        "lava_top": lambda: top_emulator(hook_url),
    }
    with make[request.param]() as running:
        provider = {"lava_ru": lava_ru, "lava_top": lava_top}[request.param](running.base_url)
        config = {**provider.config, "adapter": request.param}
        settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "flavour": config}
        told(running, shop)
        yield running


@pytest.fixture
def plan(lava: Flavour) -> Any:
    plan = PlanFactory(price=Decimal("990.00"), currency="RUB")
    ref = PRODUCT if isinstance(lava, LavaRuEmulator) else OFFER
    PlanProviderRef.objects.create(plan=plan, provider="flavour", ref=ref)
    return plan


def renew(lava: Flavour, subscription: Subscription) -> None:
    if isinstance(lava, LavaTopEmulator):
        lava.renew(str(subscription.provider_sub_id))
    else:
        assert isinstance(lava, LavaRuEmulator)
        lava.renew(subscription.checkouts.get().order_ref)


def bought(lava: Flavour, shop: Shop, user: Any, plan: Any) -> Subscription:
    checkout: Checkout = shop.checkout(user, plan, provider="flavour")
    click(lava, checkout.url, outcome="pay")
    shop.drain()
    subscription = fresh(checkout.subscription)
    assert subscription.status == "active"
    return subscription


def verdicts() -> set[str]:
    return set(InboundEvent.objects.values_list("status", flat=True))


def test_bought_renewed_and_cancelled(lava: Flavour, shop: Shop, user: Any, plan: Any) -> None:
    subscription = bought(lava, shop, user, plan)
    end = subscription.end_date
    assert subscription.provider_sub_id
    assert end is not None

    shop.at(end)
    told(lava, shop)
    renew(lava, subscription)
    shop.drain()

    subscription = fresh(subscription)
    assert subscription.status == "active"
    assert subscription.end_date is not None
    assert subscription.end_date > end + 27 * DAY
    assert charges(subscription) == [("completed", 1, "")] * 2
    assert Api().as_user(user).delete("/api/v1/subscriptions/me").status_code == 200
    shop.sweep("provider_commands")
    shop.drain()
    [command] = subscription.commands.all()
    assert command.status == "confirmed"
    assert registry.get("flavour").get_subscription(subscription.provider_sub_id).auto_renew is False
    assert not fresh(subscription).auto_renew or fresh(subscription).cancelled_at is not None
    assert verdicts() <= {"processed", "ignored"}


def test_renewal_whose_webhook_was_lost_is_found(lava: Flavour, shop: Shop, user: Any, plan: Any) -> None:
    subscription = bought(lava, shop, user, plan)
    shop.at(subscription.end_date)
    told(lava, shop)
    lava.hold()
    renew(lava, subscription)
    lava.drop()

    subscription_reconcile(subscription_id=subscription.pk, now=clock.now())

    assert charges(subscription) == [("completed", 1, "")] * 2
    assert fresh(subscription).end_date > shop.now + 27 * DAY
