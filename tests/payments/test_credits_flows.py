"""Credit in the flows of money: renewals, checkouts, declines and voids, on the real sandbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payflow.core.time_travel import clock_advance
from payments.models import CreditUse, Invoice, PaymentTransaction, TaxRate
from providers.sandbox.models import SandboxPayment
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, charges, fresh, invoices, ledger
from tests.payments.credit_support import balance, give, left, spend

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def charged() -> list[Decimal]:
    """What the sandbox has charged stored methods with."""
    rows = SandboxPayment.objects.filter(kind="charge", status="succeeded").order_by("pk")
    return [row.amount for row in rows]


def newest(subscription) -> Invoice:
    return subscription.invoices.order_by("-pk")[0]


def test_a_renewal_consumes_credit_and_charges_the_rest(shop, user):
    subscription = shop.buy(user)
    soon, never = give(user, 3, expires=END + DAY), give(user, "1.50")
    over = give(user, 2, expires=END)

    shop.run(END)

    invoice = newest(subscription)
    assert (invoice.status, invoice.credit, invoice.total) == ("paid", Decimal("4.50"), Decimal("5.50"))
    assert charged() == [Decimal("5.50")]
    assert left(soon, never, over) == [0, 0, 2]
    shop.sweep("credits_expire")
    assert balance(user) == 0
    assert fresh(subscription).end_date == NEXT
    assert ledger() == {"provider_clearing": Decimal("15.50"), "discounts": Decimal("6.50"), "revenue": -22}


def test_a_renewal_that_credit_covers_charges_nothing_and_is_paid(shop, user):
    subscription = shop.buy(user)
    give(user, 25)

    for end, rest in ((END, 15), (NEXT, 5)):
        shop.run(end)
        assert (newest(subscription).status, newest(subscription).total, balance(user)) == ("paid", 0, rest)

    assert charged() == []
    assert charges(subscription) == [("completed", 1, "")]
    row = fresh(subscription)
    assert (row.status, row.end_date) == ("active", datetime(2040, 4, 30, 10, 0, tzinfo=UTC))
    assert ledger() == {"provider_clearing": 10, "customer_credit": -5, "discounts": 25, "revenue": -30}


def test_a_checkout_reserves_credit_and_its_expiry_gives_it_back(shop, user):
    grant = give(user, 4)
    checkout = shop.checkout(user, PlanFactory())
    assert (checkout.amount, balance(user)) == (6, 0)
    assert ledger() == {"customer_credit": -4, "discounts": 4}, "a draft posts nothing"

    shop.run(checkout.expires_at)

    assert fresh(checkout).status == "expired"
    assert (left(grant), balance(user)) == ([4], 4)
    # and the next one has it again, and pays less
    again = shop.checkout(user, PlanFactory())
    shop.pay(again)
    assert (again.amount, balance(user), newest(again.subscription).status) == (6, 0, "paid")
    assert ledger() == {"provider_clearing": 6, "discounts": 4, "revenue": -10}


def test_a_late_payment_of_an_expired_checkout_whose_credit_is_spent_meanwhile_settles_nothing(shop, user):
    give(user, 4)
    checkout = shop.checkout(user, PlanFactory())
    shop.run(checkout.expires_at)
    spend(user, 4, "k", at=shop.now)

    shop.pay(checkout)

    assert fresh(checkout.subscription).status == "expired"
    assert ledger() == {"provider_clearing": 6, "unapplied_payments": -6, "discounts": 4, "revenue": -4}


def test_credit_given_back_after_it_expired_is_lost(shop, user):
    grant = give(user, 4, expires=START + timedelta(hours=1))
    checkout = shop.checkout(user, PlanFactory())
    shop.run(checkout.expires_at)
    assert (left(grant), balance(user)) == ([4], 4)
    assert shop.checkout(user, PlanFactory()).amount == 10

    assert shop.sweep("credits_expire") == 1

    assert (balance(user), ledger()) == (0, {"discounts": 4, "revenue": -4})


def test_a_declined_renewal_keeps_its_credit_until_it_is_cancelled(shop, user):
    subscription = shop.buy(user, card="decline")
    first, second = give(user, 1, expires=END + 9 * DAY), give(user, 3)
    shop.run(END)

    assert (fresh(subscription).status, invoices(subscription)) == ("past_due", ["paid", "open"])
    assert (newest(subscription).total, balance(user)) == (6, 0)
    assert ledger() == {"provider_clearing": 10, "receivable": 6, "discounts": 4, "revenue": -20}
    # the retry asks for the same and takes no more
    give(user, 5)
    shop.run(END + 2 * DAY)
    assert (newest(subscription).total, balance(user)) == (6, 5)

    assert Api().as_user(user).delete("/api/v1/subscriptions/me").status_code == 200

    assert (invoices(subscription), left(first, second), balance(user)) == (["paid", "void"], [1, 3], 9)
    assert not CreditUse.objects.filter(returned_at=None).exists()
    assert ledger() == {"provider_clearing": 10, "customer_credit": -9, "discounts": 9, "revenue": -10}


def test_a_declined_renewal_is_recovered_by_the_rest_alone(shop, user):
    subscription = shop.buy(user, card="decline")
    give(user, 4)
    shop.run(END)
    shop.card(subscription, "ok")

    shop.run(END + 2 * DAY)

    assert (fresh(subscription).status, charged(), balance(user)) == ("active", [6], 0)
    assert ledger() == {"provider_clearing": 16, "discounts": 4, "revenue": -20}


@pytest.mark.parametrize(
    ("inclusive", "credit", "total", "tax", "revenue"),
    [
        (False, "5", "7.00", "-2.00", "-10.00"),
        (False, "20", "0.00", "-2.00", "-10.00"),
        (True, "5", "5.00", "-1.67", "-8.33"),
    ],
    ids=["added", "added and covered", "included"],
)
def test_credit_settles_the_taxed_total_and_lowers_no_tax(shop, user, inclusive, credit, total, tax, revenue):
    subscription = shop.buy(user)
    user.country = "DE"
    user.save()
    TaxRate.objects.create(country="DE", name="VAT", percent=20, inclusive=inclusive)
    give(user, credit)

    shop.run(END)

    invoice = newest(subscription)
    assert (invoice.status, invoice.total) == ("paid", Decimal(total))
    assert invoice.total + invoice.credit == (10 if inclusive else 12)
    books = ledger()
    assert (books["tax"], books["revenue"] + 10) == (Decimal(tax), Decimal(revenue))
    assert books.get("customer_credit", 0) == -balance(user)


def test_a_full_refund_gives_money_back_and_the_unused_part_of_the_credit(shop, user):
    subscription = shop.buy(user)
    give(user, 4)
    shop.run(END)
    charge = PaymentTransaction.objects.filter(subscription=subscription).order_by("-pk")[0]

    shop.refund(charge)

    assert (fresh(charge).status, fresh(charge).amount, balance(user)) == ("refunded", 6, 4)  # none of it was lived


def test_a_month_in_one_call_expires_credit_at_its_moment(shop, user):
    soon, late = give(user, 5, expires=START + 10 * DAY), give(user, 3, expires=START + 40 * DAY)

    clock_advance(by=31 * DAY)

    assert timedelta(0) <= fresh(soon).expired_at - (START + 10 * DAY) < timedelta(minutes=5)
    assert (left(soon, late), balance(user)) == ([0, 3], 3)
