"""A change of plan at a provider that renews by itself at our price: the renewal's money says whether it happened."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, ProviderEvent
from subscriptions.models import Checkout, Subscription
from subscriptions.services.plan_change import plan_change
from subscriptions.services.provider_events import Verdict, provider_event_apply
from subscriptions.services.subscribe import subscription_create
from tests.factories import PlanFactory, UserFactory
from tests.store import Books
from tests.subscriptions.store_world import T0

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def agent(settings: Any, books: Books) -> Books:
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "agent": {"adapter": "tests.store:Agent"}}
    return books


def paid(subscription: Subscription, number: int, amount: str, at: Any) -> Any:
    event = ProviderEvent(
        provider="agent",
        event_id=f"news-{number}",
        type=EventType.PAYMENT_SUCCEEDED,
        occurred_at=at,
        provider_sub_id="sub-1",
        provider_payment_id=f"pay-{number}",
        order_ref=Checkout.objects.get(subscription=subscription).order_ref if number == 1 else None,
        amount=Decimal(amount),
        currency="USD",
    )
    return provider_event_apply(event=event, now=at)


@pytest.mark.parametrize(
    ("amount", "plan", "status"),
    [("9.00", "gold", "applied"), ("5.00", "basic", "open")],
)
def test_the_renewals_amount_decides(agent: Books, amount: str, plan: str, status: str) -> None:
    plans = {code: PlanFactory(code=code, price=Decimal(price)) for code, price in [("basic", "5"), ("gold", "9")]}
    started = subscription_create(
        user_id=UserFactory().pk,
        plan=plans["basic"],
        provider="agent",
        currency=None,
        success_url="",
        cancel_url="",
        actor="u",
        now=T0,
    ).subscription
    paid(started, 1, "5.00", T0)
    subscription = Subscription.objects.get()
    assert (subscription.status, subscription.provider_sub_id) == ("active", "sub-1")
    end = subscription.end_date
    assert end is not None
    plan_change(
        subscription_id=subscription.pk,
        plan=plans["gold"],
        when=None,
        currency=None,
        quoted_at=None,
        total=None,
        actor="u",
        now=T0,
    )

    assert paid(subscription, 2, amount, end).verdict == Verdict.PROCESSED

    subscription.refresh_from_db()
    assert (subscription.plan.code, subscription.changes.get().status) == (plan, status)
    assert subscription.end_date is not None and subscription.end_date > end


def test_another_amount_is_unapplied(agent: Books) -> None:
    started = subscription_create(
        user_id=UserFactory().pk,
        plan=PlanFactory(price=Decimal(5)),
        provider="agent",
        currency=None,
        success_url="",
        cancel_url="",
        actor="u",
        now=T0,
    ).subscription
    paid(started, 1, "5.00", T0)
    end = Subscription.objects.get().end_date

    assert paid(started, 2, "7.00", end).verdict == Verdict.REVIEW
    assert Subscription.objects.get().end_date == end
