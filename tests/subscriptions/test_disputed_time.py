"""What is unused of time whose payment is disputed: nobody gives it up before it is known whose the money stays."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payments.models import PaymentTransaction
from subscriptions.services.cancel import subscription_cancel
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, credit, fresh, nothing_changes, refused

OPENED = ("stop_charging", "nothing")


@pytest.fixture(params=OPENED)
def disputed(request, shop, user, settings):
    """A subscription of 29.00 whose one payment is disputed on the fifth day, and the dispute."""
    settings.CHARGEBACK_OPENED = request.param
    subscription = shop.buy(user, PlanFactory(price=Decimal("29.00"), proration_unit="day"))
    shop.at(START + 5 * DAY)
    return subscription, shop.dispute(PaymentTransaction.objects.get(type="charge"))


def test_a_pause_waits_for_the_end_of_a_dispute_and_then_gives_the_unused_time(shop, user, disputed):
    subscription, dispute = disputed
    shop.at(START + 10 * DAY)
    with nothing_changes():
        refused(shop.post(subscription, "pause"), 409, "INVALID_TRANSITION")
    shop.dispute_ends(dispute, "won")
    assert shop.post(subscription, "pause").status_code == 200
    assert credit(user) == 19


def test_a_refund_of_unused_time_waits_for_the_end_of_a_dispute(shop, user, admin, disputed):
    subscription, dispute = disputed
    shop.at(START + 10 * DAY)
    operator = Api().as_user(admin)
    url = f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true"
    with nothing_changes():
        refused(operator.delete(url), 409, "INVALID_TRANSITION")
    shop.dispute_ends(dispute, "won")
    assert operator.delete(url).status_code == 200
    assert PaymentTransaction.objects.get(type="refund").amount == 19


def test_what_is_disputed_can_still_be_cancelled_without_a_refund(shop, disputed):
    subscription, _ = disputed
    subscription_cancel(subscription_id=subscription.pk, at_once=True, actor="test", now=shop.now)
    assert fresh(subscription).status == "cancelled"
