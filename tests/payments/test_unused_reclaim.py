"""Unused time became credit, and then the money that had paid for it goes back: nobody has both."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payments.models import PaymentTransaction, TaxRate
from payments.services.credits import credit_spend
from payments.services.refunds import refund_create
from tests.factories import PlanFactory
from tests.flows import credit, fresh, give_credit, ledger

TENTH = datetime(2040, 2, 10, 10, 0, tzinfo=UTC)


def plan(price: str = "29.00", **fields):
    return PlanFactory(price=Decimal(price), proration_unit="day", **fields)


@pytest.fixture
def paused(shop, user):
    """Returns how to buy for 29.00 and to pause where 19 of 29 days are left; answers the subscription and its charge."""

    def pause():
        subscription = shop.buy(user, plan())
        shop.at(TENTH)
        assert shop.post(subscription, "pause").status_code == 200
        return fresh(subscription), PaymentTransaction.objects.get(type="charge")

    return pause


def refund(charge, amount: str | None) -> None:
    wanted = Decimal(amount) if amount else None
    refund_create(charge_id=charge.pk, amount=wanted, reason="asked", actor="test", at=TENTH)


def lose(shop, charge) -> None:
    shop.dispute_ends(shop.dispute(charge), "lost")


def test_a_lost_dispute_takes_the_credit_back(shop, user, paused):
    _, charge = paused()
    assert credit(user) == 19

    lose(shop, charge)

    assert credit(user) == 0
    assert ledger() == {"chargebacks": 29, "revenue": -29}


def test_a_full_refund_takes_the_credit_back(user, paused):
    _, charge = paused()
    refund(charge, None)
    assert credit(user) == 0
    assert ledger() == {"refunds": 29, "revenue": -29}


def test_a_partial_refund_of_what_was_lived_leaves_it_and_more_takes_as_much(user, paused):
    _, charge = paused()
    refund(charge, "10.00")
    assert credit(user) == 19
    refund(charge, "5.00")
    assert credit(user) == 14
    refund(charge, None)
    assert credit(user) == 0


def test_what_is_spent_stays_spent(user, paused):
    _, charge = paused()
    credit_spend(user_id=user.pk, amount=Decimal(12), currency="USD", key="k", reason="use", actor="test", at=TENTH)
    refund(charge, None)
    assert credit(user) == 0
    assert ledger() == {"refunds": 29, "revenue": -29}


def test_its_part_of_the_tax_is_owed_again(shop, user, paused):
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(19))
    user.country = "DE"
    user.save()
    _, charge = paused()
    assert credit(user) == Decimal("22.61")
    lose(shop, charge)
    assert credit(user) == 0
    assert ledger() == {"chargebacks": Decimal("34.51"), "revenue": -29, "tax": Decimal("-5.51")}


def test_what_credit_had_paid_stays_credit(shop, user, paused):
    give_credit(user, "10.00")
    _, charge = paused()
    assert (charge.amount, credit(user)) == (19, 19)
    lose(shop, charge)
    assert credit(user) == 10


def test_time_that_was_carried_over_by_a_change_is_followed(shop, user):
    subscription = shop.buy(user, plan())
    first = PaymentTransaction.objects.get(type="charge")
    shop.at(TENTH)
    assert shop.change(subscription, plan("366.00", billing_cycle="yearly"), when="now").status_code == 200
    assert shop.post(subscription, "pause").status_code == 200
    assert credit(user) == 366

    lose(shop, first)

    # 347.00 of the change's own are left
    assert credit(user) == 347
