"""Moves from one provider to another, told as the other stories are: the link is made; and it is paid.

The mail and the other outbox handlers come after them: how those die is told by the other stories.
"""

from __future__ import annotations

from typing import Any

from payflow.core import clock
from payflow.core.models import OutboxEvent
from plans.models import PlanProviderRef
from providers import registry
from providers.sandbox.models import SandboxDelivery, SandboxPayment
from providers.sandbox.signature import HEADER, sign
from subscriptions.models import Checkout, ProviderCommand, ProviderMoveMember, Subscription
from subscriptions.services.moves import move_start
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, Shop, fresh, invoices, ledger, paid, periods
from tests.providers.sandbox_sold import BILLING, Sold, providers
from tests.providers.sandbox_support import config, press
from tests.recovery.processes import (
    SECOND,
    SECOND_KEY,
    SECOND_SECRET,
    Step,
    request,
    sweep,
)
from tests.recovery.stories import END, Story

PRODUCT = {"product_ref": "basic_monthly", "name": "Basic", "price": "10.00", "currency": "USD", "cycle": "monthly"}


def a_link_to_another_provider(shop: Shop) -> Story:
    """Three days before the period ends: a draft and a checkout, the page at the new provider, the mail."""
    _accounts(shop)
    subscription, _ = paid(UserFactory(), PlanFactory(), at=shop.now)
    _move(shop, "sandbox")
    at = END - 3 * DAY

    def proof() -> None:
        link = Checkout.objects.get(purpose="move")
        assert (link.provider, link.status, link.amount, link.url[:4]) == (SECOND, "open", 10, "http")
        assert ProviderMoveMember.objects.get().status == "invited"
        assert invoices(subscription) == ["paid", "draft"]
        assert OutboxEvent.objects.filter(type="subscription.move_offered").count() == 1
        assert fresh(subscription).provider == "sandbox"
        assert ledger() == {"provider_clearing": 10, "revenue": -10}

    return Story(at, lambda: [sweep("provider_moves", now=at)], proof)


def a_link_that_is_paid(shop: Shop) -> Story:
    """The news is taken in and applied, and the old provider, which renews by itself, is told to stop."""
    _accounts(shop)
    sold = Sold(shop, {"basic": PlanFactory(code="basic")})
    PlanProviderRef.objects.create(plan=sold.plans["basic"], provider=BILLING, ref=PRODUCT["product_ref"])
    assert sold.api(BILLING, "POST", "products", PRODUCT)[0] == 200
    row = sold.buy(UserFactory())
    start, end, old = row.start_date, row.end_date, row.provider_sub_id
    _move(shop, BILLING)
    at = shop.at(end - 3 * DAY)
    while shop.sweep("provider_moves"):
        pass
    shop.drain()
    assert press(Checkout.objects.get(purpose="move").url, outcome="pay").status == 303
    body = SandboxDelivery.objects.order_by("pk").last().body

    def steps() -> list[Step]:
        told = request("POST", f"/webhooks/{SECOND}", body, {HEADER: sign(SECOND_SECRET, body.encode(), clock.wall())})
        return [told, *(sweep(name, now=at) for name in ("webhooks_inbound", "provider_commands"))]

    def proof() -> None:
        moved: Subscription = fresh(row)
        assert (moved.status, moved.provider, moved.provider_sub_id) == ("active", SECOND, None)
        assert moved.end_date is not None
        assert periods(moved) == [(start, end), (end, moved.end_date)]
        assert ProviderMoveMember.objects.get().status == "moved"
        [command] = ProviderCommand.objects.values_list("provider", "kind", "status")
        assert command == (BILLING, "cancel", "confirmed")
        assert registry.get(BILLING).get_subscription(str(old)).auto_renew is False
        assert OutboxEvent.objects.filter(type="subscription.moved").count() == 1
        assert list(SandboxPayment.objects.values_list("amount", "refunded")) == [(10, 0), (10, 0)]
        assert ledger() == {"provider_clearing": 20, "revenue": -20}

    return Story(at, steps, proof, is_news=True)


def _accounts(shop: Shop) -> None:
    """The same ones that the processes are configured with."""
    shop.settings.PAYFLOW_PROVIDERS = {
        **shop.settings.PAYFLOW_PROVIDERS,
        SECOND: config(f"{shop.url}/sandbox", api_key=SECOND_KEY, webhook_secret=SECOND_SECRET),
        BILLING: providers(shop.url)[BILLING],
    }


def _move(shop: Shop, source: str) -> Any:
    return move_start(from_provider=source, to_provider=SECOND, percent=100, days_before=3, actor="test", now=shop.now)
