"""Unused time became credit, and then the money that had paid for it goes back: nobody has both."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payments.errors import InsufficientCredit
from payments.models import PaymentTransaction, TaxRate
from payments.services.credits import credit_spend
from payments.services.refunds import refund_create
from tests.factories import PlanFactory
from tests.flows import credit, fresh, give_credit, ledger, nothing_changes

TENTH = datetime(2040, 2, 10, 10, 0, tzinfo=UTC)


def plan(price: str = "29.00", **fields):
    return PlanFactory(price=Decimal(price), **fields)


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


# --- while a dispute is open ------------------------------------------------------------------------------------------


def spend(user, amount: str) -> None:
    credit_spend(
        user_id=user.pk, amount=Decimal(amount), currency="USD", key=amount, reason="use", actor="test", at=TENTH
    )


def too_much(user, amount: str) -> str:
    """Spending so much is refused and changes nothing; answers what there is to spend."""
    with nothing_changes(), pytest.raises(InsufficientCredit) as refusal:
        spend(user, amount)
    return refusal.value.details["available"]


@pytest.mark.parametrize(("outcome", "left"), [("won", 19), ("lost", 0)])
def test_while_its_payment_is_disputed_it_is_not_spent(shop, user, paused, outcome, left):
    _, charge = paused()
    give_credit(user, "3.00")

    dispute = shop.dispute(charge)

    assert (too_much(user, "3.01"), credit(user)) == ("3.00", 22)
    # nor does it pay for anything else
    other = shop.buy(user, plan(family="other"))
    assert (other.invoices.get().credit, credit(user)) == (3, 19)
    shop.dispute_ends(dispute, outcome)
    assert credit(user) == left
    if left:
        spend(user, "19.00")


def test_only_as_much_is_held_as_a_lost_dispute_would_take(shop, user, paused):
    _, charge = paused()
    dispute = shop.dispute(charge, amount="15.00")
    assert too_much(user, "14.01") == "14.00"
    spend(user, "14.00")
    assert too_much(user, "0.01") == "0.00"
    shop.dispute_ends(dispute, "lost")
    assert credit(user) == 0


def test_a_dispute_of_another_subscriptions_payment_holds_nothing(shop, user):
    shop.buy(user, plan("7.00", family="other"))
    other = PaymentTransaction.objects.get(type="charge")
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    assert shop.post(subscription, "pause").status_code == 200
    shop.dispute(other)
    spend(user, "19.00")
    assert credit(user) == 0
