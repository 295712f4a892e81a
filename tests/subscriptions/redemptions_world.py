"""The shared world of tests about coupons in use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payflow.core.money import Money
from plans.models import Coupon
from subscriptions.models import CouponRedemption, Subscription
from subscriptions.services.redemptions import (
    coupon_check,
    redemption_activate,
    redemption_reserve,
)
from tests.factories import PlanFactory, UserFactory
from tests.flows import fresh
from tests.plans.conftest import subscribe

NOW = datetime(2040, 1, 31, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def plan(db):
    return PlanFactory(code="basic")


def pending(user=None, plan=None):
    return subscribe(user or UserFactory(), plan or PlanFactory(), "pending")


def usd(amount):
    return Money(Decimal(amount), "USD")


def check(coupon, user, plan, *, currency="USD", now=NOW):
    code = coupon.code if isinstance(coupon, Coupon) else coupon
    return coupon_check(code=code, user_id=user.pk, plan=plan, currency=currency, now=now)


def reserve(subscription, coupon):
    return redemption_reserve(subscription, coupon, now=NOW)


def active(coupon, subscription=None):
    subscription = subscription or pending()
    reserve(subscription, fresh(coupon))
    return redemption_activate(subscription)


def fault(refusal):
    assert refusal.value.code == "VALIDATION_ERROR"
    [text] = refusal.value.details["coupon"]
    return text


def state():
    return (
        list(Coupon.objects.order_by("pk").values()),
        list(CouponRedemption.objects.order_by("pk").values()),
        list(Subscription.objects.order_by("pk").values()),
    )


def taken(coupon):
    """How often it counts, and the statuses of those who took it."""
    return fresh(coupon).redemptions, list(coupon.taken.order_by("pk").values_list("status", flat=True))
