"""An unpaid invoice is given up: credit that it had consumed comes back for the time in which nobody was let in."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

import payments.invoices
from payflow.core.money import Money
from payments.composition import LineDraft
from payments.models import CreditGrant, LineKind, PaymentTransaction, TaxRate
from tests.factories import PlanFactory
from tests.flows import DAY, credit, fresh, give_credit, invoices, ledger, nothing_changes, steps

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
GIVEN_UP = END + 37 * DAY


def plan(**fields):
    return PlanFactory(price=Decimal("31.00"), **fields)


@pytest.fixture
def owing(shop, user):
    """Returns how to owe what credit could not pay of a renewal from 29 February; answers the subscription."""

    def owe(amount: str = "12.40", **fields):
        subscription = shop.buy(user, plan(**fields), card="stolen")
        give_credit(user, amount)
        shop.run(END)
        assert (fresh(subscription).status, credit(user)) == ("past_due", 0)
        return subscription

    return owe


def test_credit_for_the_time_not_served_comes_back_and_that_of_the_grace_does_not(shop, user, owing):
    subscription = owing()
    shop.run(END + 7 * DAY)
    assert fresh(subscription).status == "suspended"
    assert ledger() == {
        "provider_clearing": 31,
        "receivable": Decimal("18.60"),
        "discounts": Decimal("12.40"),
        "revenue": -62,
    }

    shop.run(GIVEN_UP)

    # 7 of the 31 days were lived in grace: 24/31 of 12.40 come back
    assert (invoices(subscription), credit(user)) == (["paid", "uncollectible"], Decimal("9.60"))
    invoice = subscription.invoices.get(status="uncollectible")
    grant = CreditGrant.objects.get(key=f"writeoff:{invoice.pk}")
    assert (grant.source, grant.amount, grant.expires_at) == ("unused_time", Decimal("9.60"), None)
    assert grant.explanation["invoice"] == invoice.number
    assert ledger() == {
        "provider_clearing": 31,
        "write_off": Decimal("18.60"),
        "discounts": Decimal("12.40"),
        "customer_credit": Decimal("-9.60"),
        "revenue": Decimal("-52.40"),
    }
    with nothing_changes():
        shop.run(GIVEN_UP + 100 * DAY)
    # and it pays for what he buys next
    again = shop.buy(user, plan())
    assert (again.invoices.get().credit, credit(user)) == (Decimal("9.60"), 0)


def test_its_tax_is_owed_no_more(shop, user, owing):
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(25))
    user.country = "DE"
    user.save()
    owing("15.50")
    shop.run(END + 7 * DAY)

    shop.run(GIVEN_UP)

    # 12.00 with 2.40 of tax in them
    assert credit(user) == Decimal("12.00")
    assert ledger()["tax"] == Decimal("-15.50") + Decimal("2.40")


def test_what_paid_for_usage_is_used(shop, user, owing, monkeypatch):
    """Of 12.40, as much as the usage is of the invoice paid for that."""
    monkeypatch.setattr(payments.invoices, "_line_sources", [])
    payments.invoices.register_line_source(
        lambda lived, at: {
            row.pk: [LineDraft(kind=LineKind.USAGE, description="Use", amount=Money(Decimal("31.00"), "USD"))]
            for row in lived
        }
    )
    owing(priced_actions=["use"])
    shop.run(END + 7 * DAY)

    shop.run(GIVEN_UP)

    assert credit(user) == Decimal("4.80")


def test_a_dispute_that_shut_him_out_earlier_counts(shop, user, owing, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    subscription = owing()
    first = PaymentTransaction.objects.filter(type="charge", status="completed").get()
    shop.at(END + 2 * DAY)
    dispute = shop.dispute(first)
    assert steps(subscription)[-1] == ("suspended", "disputed")
    shop.at(END + 40 * DAY)
    shop.dispute_ends(dispute, "won")

    shop.run(END + 70 * DAY)

    # two days of grace
    assert (invoices(subscription), credit(user)) == (["paid", "uncollectible"], Decimal("11.60"))


def test_where_no_credit_was_consumed_nothing_comes_back(shop, user):
    subscription = shop.buy(user, plan(), card="stolen")
    for moment in (END, END + 7 * DAY, GIVEN_UP):
        shop.run(moment)
    assert (invoices(subscription), credit(user)) == (["paid", "uncollectible"], 0)
    assert not CreditGrant.objects.exists()
