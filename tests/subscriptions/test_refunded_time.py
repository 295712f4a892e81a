"""A full refund ends what its payment helped to pay for; what others had paid of that comes back as credit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payments.errors import InsufficientCredit
from payments.models import PaymentTransaction
from payments.services.credits import credit_spend
from tests.factories import PlanFactory
from tests.flows import credit, fresh, give_credit, ledger, nothing_changes, periods, steps

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
TENTH = datetime(2040, 2, 10, 10, 0, tzinfo=UTC)
TWENTIETH = datetime(2040, 2, 20, 10, 0, tzinfo=UTC)


def plan(price: str = "29.00", **fields):
    return PlanFactory(price=Decimal(price), **fields)


@pytest.fixture
def upgraded(shop, user):
    """29.00 for a month of 29 days, of which 19.00 are carried over into 38.00 on the tenth; and the two payments."""
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    assert shop.change(subscription, plan("58.00")).status_code == 200
    first, second = PaymentTransaction.objects.filter(type="charge").order_by("pk")
    assert (first.amount, second.amount) == (29, 19)
    return subscription, first, second


def test_a_full_refund_of_an_upgrade_gives_back_what_was_carried_over_into_it(shop, user, upgraded):
    subscription, _, second = upgraded
    shop.at(TWENTIETH)

    shop.refund(second)

    row = fresh(subscription)
    assert (steps(row)[-1], row.end_date, periods(row)[-1][1]) == (("cancelled", "refunded"), TWENTIETH, TWENTIETH)
    # nine of the nineteen days that the first payment's 19.00 were carried over for
    assert credit(user) == 9
    assert ledger() == {"provider_clearing": 29, "refunds": 19, "customer_credit": -9, "revenue": -39}


def test_a_full_refund_of_the_payment_before_an_upgrade_ends_it_too(shop, user, upgraded):
    subscription, first, second = upgraded
    shop.at(TWENTIETH)

    shop.refund(first)

    # half of the running time is the upgrade's own payment's: nine of its nineteen days
    assert (fresh(subscription).status, credit(user)) == ("cancelled", 9)
    assert ledger() == {"provider_clearing": 19, "refunds": 29, "customer_credit": -9, "revenue": -39}
    # nobody has that and its money
    shop.refund(second)
    assert (fresh(second).status, credit(user)) == ("refunded", 0)
    assert ledger() == {"refunds": 48, "revenue": -48}


def test_a_change_that_unused_time_paid_ends_with_the_refund_of_that(shop, user):
    subscription = shop.buy(user, plan("58.00"))
    shop.at(TENTH)
    assert shop.change(subscription, plan(), when="now").status_code == 200
    assert credit(user) == 19

    shop.refund(PaymentTransaction.objects.get(type="charge"))

    assert (fresh(subscription).status, credit(user)) == ("cancelled", 0)
    assert ledger() == {"refunds": 58, "revenue": -58}


def test_a_payment_before_the_present_period_carries_nothing_any_more(shop, user, upgraded):
    subscription, first, second = upgraded
    shop.run(END)
    renewed = fresh(subscription)

    shop.refund(first)
    shop.refund(second)

    row = fresh(subscription)
    assert (row.status, row.end_date, credit(user)) == ("active", renewed.end_date, 0)


def test_what_credit_had_paid_of_the_unused_time_comes_back_as_credit(shop, user):
    give_credit(user, "14.50")
    subscription = shop.buy(user, plan())
    shop.at(TENTH)

    shop.refund(PaymentTransaction.objects.get(type="charge"))

    # 19 of 29 days of 14.50
    assert (fresh(subscription).status, credit(user)) == ("cancelled", Decimal("9.50"))
    assert ledger() == {
        "discounts": Decimal("14.50"),
        "refunds": Decimal("14.50"),
        "customer_credit": Decimal("-9.50"),
        "revenue": Decimal("-19.50"),
    }


def test_a_part_that_ends_access_is_all_that_goes_back(shop, user, settings, upgraded):
    settings.PARTIAL_REFUND = "cancel"
    subscription, _, second = upgraded

    shop.refund(second, amount="9.00")

    assert (fresh(subscription).status, credit(user)) == ("cancelled", 0)


def test_where_a_full_refund_ends_nothing_nothing_comes_back(shop, user, settings, upgraded):
    settings.FULL_REFUND = "nothing"
    subscription, first, _ = upgraded
    shop.refund(first)
    assert (fresh(subscription).status, credit(user)) == ("active", 0)


def test_the_same_news_again_gives_nothing_twice(shop, user, upgraded):
    _, first, _ = upgraded
    shop.refund(first)
    refund = PaymentTransaction.objects.get(type="refund")
    assert credit(user) == 19
    with nothing_changes():
        shop.sandbox_event(
            "payment.refunded",
            refund_id=refund.provider_txn_id,
            payment_id=first.provider_txn_id,
            amount="29.00",
            currency="USD",
        )


@pytest.mark.parametrize(("outcome", "left"), [("won", 9), ("lost", 0)])
def test_what_is_disputed_of_what_it_ends_is_held_until_that_has_ended(shop, user, upgraded, outcome, left):
    _, first, second = upgraded
    shop.at(TWENTIETH)
    dispute = shop.dispute(first)

    shop.refund(second)

    assert credit(user) == 9
    with nothing_changes(), pytest.raises(InsufficientCredit):
        spend(user, "0.01")
    shop.dispute_ends(dispute, outcome)
    assert credit(user) == left
    if left:
        spend(user, "9.00")


def spend(user, amount: str) -> None:
    credit_spend(
        user_id=user.pk, amount=Decimal(amount), currency="USD", key=amount, reason="use", actor="test", at=TWENTIETH
    )
