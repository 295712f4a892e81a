"""What is unused of time whose payment is disputed: nobody gives it up before it is known whose the money stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payments.errors import InsufficientCredit
from payments.models import PaymentTransaction
from payments.services.credits import credit_spend
from subscriptions.services.cancel import subscription_cancel
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, credit, fresh, ledger, nothing_changes, refused

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
OPENED = ("stop_charging", "nothing")


@pytest.fixture(params=OPENED)
def disputed(request, shop, user, settings):
    """A subscription of 29.00 whose one payment is disputed on the fifth day, and the dispute."""
    settings.CHARGEBACK_OPENED = request.param
    subscription = shop.buy(user, PlanFactory(price=Decimal("29.00")))
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


@pytest.fixture
def shut_out(shop, user, settings):
    """The same, but it is suspended while the dispute is open: five of its 29 days are lived."""
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = shop.buy(user, PlanFactory(price=Decimal("29.00")))
    shop.at(START + 5 * DAY)
    dispute = shop.dispute(PaymentTransaction.objects.get(type="charge"))
    assert fresh(subscription).status == "suspended"
    return subscription, dispute


def test_time_from_which_a_dispute_that_is_won_had_shut_him_out_comes_back_as_credit(shop, user, shut_out):
    subscription, dispute = shut_out
    shop.at(START + 10 * DAY)

    shop.dispute_ends(dispute, "won")

    row = fresh(subscription)
    assert (row.status, row.end_date, credit(user)) == ("active", END, 5)
    assert ledger() == {"provider_clearing": 29, "customer_credit": -5, "revenue": -24}
    # and nobody has that and his money
    shop.refund(PaymentTransaction.objects.get(type="charge"))
    assert (fresh(row).status, credit(user), ledger()) == ("cancelled", 0, {"refunds": 29, "revenue": -29})


def test_won_after_the_paid_time_what_was_not_lived_pays_for_what_follows(shop, user, shut_out):
    subscription, dispute = shut_out
    won = END + 3 * DAY
    shop.at(won)

    shop.dispute_ends(dispute, "won")

    assert credit(user) == 24
    shop.run(won + timedelta(hours=1))
    row = fresh(subscription)
    assert (row.status, row.current_period_start, credit(user)) == ("active", won, 0)
    assert [charge.amount for charge in PaymentTransaction.objects.filter(type="charge").order_by("pk")] == [29, 5]


def test_what_is_lost_gives_nothing_back(shop, user, settings, shut_out):
    settings.CHARGEBACK_LOST = "nothing"
    subscription, dispute = shut_out
    shop.at(START + 10 * DAY)
    shop.dispute_ends(dispute, "lost")
    assert (fresh(subscription).status, credit(user)) == ("active", 0)


def test_what_ended_while_it_was_disputed_had_been_lived_and_stays_ended(shop, user, settings):
    settings.CHARGEBACK_OPENED = "stop_charging"
    subscription = shop.buy(user, PlanFactory(price=Decimal("29.00")))
    dispute = shop.dispute(PaymentTransaction.objects.get(type="charge"))
    shop.run(END)
    assert fresh(subscription).status == "expired"

    shop.dispute_ends(dispute, "won")

    assert (fresh(subscription).status, credit(user)) == ("expired", 0)
    assert ledger() == {"provider_clearing": 29, "revenue": -29}
    assert shop.buy(user).status == "active"


@pytest.mark.parametrize(("outcome", "left"), [("won", 5), ("lost", 0)])
def test_who_gives_up_while_a_dispute_shuts_him_out_has_the_suspension_when_it_is_won(
    shop, user, shut_out, outcome, left
):
    subscription, dispute = shut_out
    shop.at(START + 10 * DAY)
    subscription_cancel(subscription_id=subscription.pk, at_once=True, actor="test", now=shop.now)
    assert credit(user) == 5
    with nothing_changes(), pytest.raises(InsufficientCredit):
        credit_spend(
            user_id=user.pk, amount=Decimal(1), currency="USD", key="k", reason="use", actor="test", at=shop.now
        )

    shop.dispute_ends(dispute, outcome)

    assert (fresh(subscription).status, credit(user)) == ("cancelled", left)
