"""Credit for unused time was spent on time that is unused again, and then its money goes back: nobody has it twice."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payments.errors import InsufficientCredit
from payments.models import CreditGrant, PaymentTransaction
from payments.services.credits import credit_spend
from payments.services.refunds import refund_create
from tests.factories import PlanFactory
from tests.flows import DAY, credit, fresh, ledger, nothing_changes, steps

TENTH = datetime(2040, 2, 10, 10, 0, tzinfo=UTC)
END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
TWENTIETH = datetime(2040, 2, 20, 10, 0, tzinfo=UTC)


@pytest.fixture
def resumed(shop, user):
    """29.00 for 29 days, paused when 19 are left and resumed at once on the 19.00 of credit; and its one payment."""
    subscription = shop.buy(user, PlanFactory(price=Decimal("29.00")))
    charge = PaymentTransaction.objects.get(type="charge")
    shop.at(TENTH)
    for what in ("pause", "resume"):
        assert shop.post(subscription, what).status_code == 200
    assert credit(user) == 0
    return fresh(subscription), charge


def pause(shop, subscription, at=TENTH) -> None:
    shop.at(at)
    assert shop.post(subscription, "pause").status_code == 200


def refund(charge, amount: str | None = None, *, at=TENTH) -> None:
    wanted = Decimal(amount) if amount else None
    refund_create(charge_id=charge.pk, amount=wanted, reason="asked", actor="test", at=at)


def test_what_came_of_the_time_that_spent_credit_had_bought_is_taken_back(shop, user, resumed):
    subscription, charge = resumed
    pause(shop, subscription)
    assert credit(user) == 19
    refund(charge)
    assert credit(user) == 0
    assert ledger() == {"refunds": 29, "revenue": -29}


def test_through_as_many_invoices_as_it_was_spent_on(shop, user, resumed):
    subscription, charge = resumed
    for _ in range(2):
        pause(shop, subscription)
        assert shop.post(subscription, "resume").status_code == 200
    pause(shop, subscription, TWENTIETH)
    assert credit(user) == 9
    refund(charge)
    assert (credit(user), ledger()) == (0, {"refunds": 29, "revenue": -29})


def test_never_more_than_stems_from_what_went_back(shop, user, resumed):
    subscription, charge = resumed
    pause(shop, subscription)
    refund(charge, "10.00")
    assert credit(user) == 19
    refund(charge, "5.00")
    assert credit(user) == 14


def test_a_full_refund_ends_what_its_credit_pays_for_now(shop, user, resumed):
    subscription, charge = resumed
    shop.at(TWENTIETH)
    refund(charge, at=TWENTIETH)
    assert (steps(subscription)[-1], credit(user)) == (("cancelled", "refunded"), 0)


def test_where_it_ends_nothing_its_time_is_worth_nothing_any_more(shop, user, settings, resumed):
    settings.FULL_REFUND = "nothing"
    subscription, charge = resumed
    refund(charge, "15.00")
    pause(shop, subscription)
    assert credit(user) == 14
    assert shop.post(subscription, "resume").status_code == 200
    refund(charge)
    assert fresh(subscription).status == "active"
    pause(shop, subscription, TWENTIETH)
    assert credit(user) == 5  # of five that were charged at the second resume


def test_while_the_payment_is_disputed_what_came_of_it_is_not_spent(shop, user, resumed):
    subscription, charge = resumed
    pause(shop, subscription)
    dispute = shop.dispute(charge)
    with nothing_changes(), pytest.raises(InsufficientCredit):
        spend(user, "0.01")
    shop.dispute_ends(dispute, "won")
    spend(user, "19.00")
    assert credit(user) == 0


def test_what_another_subscription_was_bought_with_is_followed_too(shop, user, resumed):
    subscription, charge = resumed
    pause(shop, subscription)
    other = PlanFactory(price=Decimal("29.00"), family="other")
    second = shop.buy(user, other)
    assert second.invoices.get().credit == 19
    pause(shop, second)
    assert credit(user) == 29
    refund(charge)
    assert credit(user) == 10  # the second payment's own
    assert CreditGrant.objects.filter(remaining__gt=0).get().remaining == 10


def test_what_an_invoice_that_was_given_up_gave_back_is_taken_too(shop, user):
    price = {"price": Decimal("31.00")}
    owing = shop.buy(user, PlanFactory(family="other", **price), card="stolen")
    subscription = shop.buy(user, PlanFactory(**price))
    charge = PaymentTransaction.objects.get(type="charge", subscription=subscription)
    pause(shop, subscription)
    assert credit(user) == Decimal("20.31")
    shop.run(END)
    assert (fresh(owing).status, credit(user)) == ("past_due", 0)
    shop.run(END + 7 * DAY)
    shop.run(END + 37 * DAY)
    assert credit(user) == Decimal("15.72")  # 24 of 31 days
    refund(charge, at=shop.now)
    assert credit(user) == 0


def spend(user, amount: str) -> None:
    credit_spend(
        user_id=user.pk, amount=Decimal(amount), currency="USD", key=amount, reason="use", actor="test", at=TENTH
    )
