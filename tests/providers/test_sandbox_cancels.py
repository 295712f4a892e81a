"""A cancel that the sandbox had not heard of when it told its news: the news do not undo it."""

from __future__ import annotations

from typing import Any

import pytest

from subscriptions.models import Status
from subscriptions.services.reconciliation import subscription_reconcile
from tests.conftest import Api
from tests.flows import fresh
from tests.providers.sandbox_sold import HOUR, Sold
from tests.providers.sandbox_sold import shop as shop
from tests.providers.sandbox_sold import sold as sold

pytestmark = pytest.mark.django_db(transaction=True)


def delete(subscription: Any, **query: str) -> Any:
    question = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
    return Api().as_user(subscription.user).delete(f"/api/v1/subscriptions/{subscription.pk}{question}")


def test_news_of_a_renewal_that_come_after_the_cancel_do_not_undo_it(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    sold.shop.at(bought.end_date + HOUR)
    sold.shop.sweep("sandbox_subscriptions")  # renewed, and not told yet
    delete(bought)
    sold.shop.sweep("provider_commands")

    sold.work()

    assert fresh(bought).cancelled_at is not None
    sold.until(fresh(bought).end_date + HOUR)
    assert fresh(bought).status == Status.CANCELLED


def test_asking_the_provider_does_not_undo_a_cancel_that_it_has_not_heard_of(sold: Sold, user: Any) -> None:
    bought = sold.buy(user)
    delete(bought)

    subscription_reconcile(subscription_id=bought.pk, now=sold.shop.now)

    assert fresh(bought).cancelled_at is not None
