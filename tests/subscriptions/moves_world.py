"""The shared world of tests about moves: two accounts of the sandbox side by side, and the days on which they stand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payments.models import PaymentTransaction
from subscriptions.models import Checkout, ProviderMove, ProviderMoveMember, Subscription
from subscriptions.services.moves import (
    move_start,
)
from tests.factories import PlanFactory
from tests.flows import DAY, fresh
from tests.providers.sandbox_support import OTHER_KEY, OTHER_SECRET, config

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
AFTER = datetime(2040, 4, 30, 10, 0, tzinfo=UTC)


@pytest.fixture
def plan(shop):
    return PlanFactory(price=Decimal("29.00"))


@pytest.fixture(autouse=True)
def second(shop, settings):
    """Another account of the sandbox, side by side with the first."""
    other = config(f"{shop.url}/sandbox", api_key=OTHER_KEY, webhook_secret=OTHER_SECRET)
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "second": other}


def start(shop, *, source="sandbox", target="second", percent=100, days_before=3) -> ProviderMove:
    return move_start(
        from_provider=source,
        to_provider=target,
        percent=percent,
        days_before=days_before,
        actor="test",
        now=shop.now,
    )


def sweep(shop) -> None:
    """All that there is to do, as beat would until there is nothing left; and the mail."""
    while shop.sweep("provider_moves"):
        pass
    shop.drain()


def invited(shop, user, plan, **how) -> tuple[Subscription, Checkout]:
    """Bought for 29.00 at the first provider, and standing with a link three days before the period ends."""
    subscription = shop.buy(user, plan, **how.pop("buy", {}))
    start(shop, **how)
    shop.at(END - 3 * DAY)
    sweep(shop)
    return fresh(subscription), member_of(subscription).checkout


def member_of(subscription) -> ProviderMoveMember:
    return ProviderMoveMember.objects.select_related("checkout").get(subscription=subscription)


def refunds() -> list[tuple[str, str, Decimal]]:
    rows = PaymentTransaction.objects.filter(type="refund").order_by("pk")
    return list(rows.values_list("provider", "status", "amount"))
