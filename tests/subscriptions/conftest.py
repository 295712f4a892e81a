from __future__ import annotations

import pytest

from tests.flows import shop
from tests.subscriptions.february import TENTH, plan
from tests.subscriptions.store_world import books, plans

__all__ = ["books", "plans", "shop"]


@pytest.fixture
def basic(db):
    return plan("29.00", name="Basic")


@pytest.fixture
def pro(db):
    return plan("58.00", name="Pro")


@pytest.fixture
def bought(shop, user, basic):
    """Returns how to buy Basic (29.00) and stand at 10 February, where an upgrade to Pro costs 19.00."""

    def buy(card: str = "ok"):
        subscription = shop.buy(user, basic, card=card)
        shop.at(TENTH)
        return subscription

    return buy
