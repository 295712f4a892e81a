"""What is planned for a subscription ends with it, however it ends."""

from __future__ import annotations

from decimal import Decimal

import pytest

from subscriptions.models import SubscriptionChange
from subscriptions.services.price_moves import price_move
from tests.conftest import Api
from tests.flows import DAY, fresh
from tests.subscriptions.february import END, plan


def move(shop, subscription) -> SubscriptionChange:
    """An operator plans a dearer price for everybody who has the plan."""
    target = subscription.plan
    type(target).objects.filter(pk=target.pk).update(price=Decimal("31.00"))
    assert price_move(plan=fresh(target), actor="operator", now=shop.now) == 1
    return subscription.changes.get(status="open")


def ended(subscription, change, status: str) -> None:
    row = fresh(subscription)
    assert (row.status, fresh(change).status) == (status, "cancelled")
    assert not row.changes.filter(status="open").exists()


@pytest.mark.parametrize("by", ["a purchase", "a free plan"])
def test_a_trial_that_is_replaced(shop, user, by):
    shop.subscribe(user, plan(trial_days=7, trial_needs_method=False))
    trial = user.subscriptions.get()
    change = move(shop, trial)

    if by == "a purchase":
        shop.buy(user, plan())
    else:
        assert shop.subscribe(user, plan("0.00")).status_code == 201

    ended(trial, change, "expired")


def test_a_trial_that_nobody_pays_for(shop, user):
    shop.subscribe(user, plan(trial_days=7, trial_needs_method=False))
    trial = user.subscriptions.get()
    change = move(shop, trial)

    shop.run(trial.end_date)

    assert (fresh(trial).status, fresh(change).status) == ("expired", "cancelled")
    assert fresh(trial).amount == 29


def test_what_dunning_gives_up(shop, user):
    subscription = shop.buy(user, plan(), card="decline")
    change = move(shop, subscription)
    shop.at(END - DAY)
    assert shop.post(subscription, "pause").status_code == 200
    shop.at(END + DAY)
    shop.post(subscription, "resume")
    assert (fresh(subscription).status, fresh(change).status) == ("past_due", "open")

    while (due := fresh(subscription).next_action_at) is not None:
        shop.run(due)

    ended(subscription, change, "cancelled")


@pytest.mark.parametrize("query", ["", "?when=now"])
def test_what_is_cancelled(shop, user, query):
    subscription = shop.buy(user, plan())
    change = move(shop, subscription)
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/me{query}").status_code == 200
    shop.run(END)
    ended(subscription, change, "cancelled")
