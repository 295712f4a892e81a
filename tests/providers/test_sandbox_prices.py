"""The sandbox sells products of its own at prices of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.factories import CouponFactory, PlanFactory
from tests.flows import nothing_changes, refused
from tests.providers.sandbox_sold import BILLING, Sold
from tests.providers.sandbox_sold import shop as shop
from tests.providers.sandbox_sold import sold as sold

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_plan_without_a_product_cannot_be_bought_where_the_provider_sets_the_price(sold: Sold, user: Any) -> None:
    with nothing_changes():
        details = refused(sold.shop.subscribe(user, PlanFactory(), provider=BILLING), 400, "VALIDATION_ERROR")
    assert list(details) == ["plan_id"]


def test_a_coupon_means_nothing_where_the_provider_sets_the_price(sold: Sold, user: Any) -> None:
    CouponFactory(code="FOREVER", duration="forever")
    with nothing_changes():
        answer = sold.shop.subscribe(user, sold.plans["basic"], provider=BILLING, coupon="FOREVER")
        refused(answer, 400, "VALIDATION_ERROR")
