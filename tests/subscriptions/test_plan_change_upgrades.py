"""Changes of plan that happen now: what is previewed is what is charged, and unused time is worth what was paid for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from payments.models import PaymentTransaction, TaxRate
from plans.models import PlanPrice
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import (
    START,
    charges,
    credit,
    fresh,
    give_credit,
    invoices,
    ledger,
    periods,
)
from tests.subscriptions.february import END, NEXT, TENTH, TWENTIETH, amounts, newest, plan, same_as_invoice


def test_an_upgrade_charges_the_difference_for_the_rest_of_the_period(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)

    preview = shop.preview(subscription, pro)

    assert (preview["effective"], preview["total"], preview["credit_granted"]) == ("now", 19.0, 0.0)
    assert amounts(preview["lines"]) == [("proration_charge", 38.0), ("proration_credit", -19.0)]
    assert (preview["next_amount"], preview["next_charge_at"]) == (58.0, "2040-02-29T10:00:00Z")
    # when the preview is accepted
    answer = shop.change(subscription, pro, quoted_at=preview["quoted_at"], total=preview["total"])

    # then that is what happens
    data = answer.json()["data"]
    assert (answer.status_code, data["checkout_url"], data["change"]["status"]) == (200, None, "applied")
    assert (data["subscription"]["plan_code"], data["subscription"]["amount"]) == (pro.code, 58.0)
    invoice = newest(subscription)
    same_as_invoice(preview, invoice)
    assert (invoice.status, invoice.reason, invoice.number) == ("paid", "change", "INV-2040-000002")
    quoted_at = datetime.fromisoformat(preview["quoted_at"])
    assert (invoice.period_start, invoice.period_end) == (quoted_at, END)
    charge, credited = invoice.lines.order_by("position")
    assert (charge.explanation["formula"], charge.explanation["price"]) == ("price * share", "58.00")
    assert abs(Fraction(charge.explanation["share"]) - Fraction(19, 29)) < Fraction(1, 10**6)
    assert (charge.explanation["share"], charge.explanation["unit"]) == (credited.explanation["share"], "second")
    assert credited.explanation["charge"] == "29.00"
    assert credited.explanation["invoice"] == "INV-2040-000001"
    # and the periods touch at the moment of the preview
    assert periods(subscription) == [(START, quoted_at), (quoted_at, END)]
    row = fresh(subscription)
    assert (row.status, row.end_date, row.anchor, row.next_action_at) == ("active", END, START, END)
    assert row.periods.get(start=quoted_at).source == "change"
    assert ledger() == {"provider_clearing": 48, "revenue": -48}
    # and the next renewal is the new plan's on the old anchor
    shop.run(END)
    assert (newest(row).total, periods(row)[-1]) == (58, (END, NEXT))
    assert ledger() == {"provider_clearing": 106, "revenue": -106}


@pytest.mark.parametrize("unit", ["second", "day"])
def test_a_preview_is_kept_to_the_cent_whatever_the_unit(shop, user, unit):
    subscription = shop.buy(user, PlanFactory(price=Decimal("19.99"), proration_unit=unit))
    better = PlanFactory(price=Decimal("34.95"), proration_unit=unit)
    shop.at(TENTH + timedelta(hours=3, minutes=17, seconds=5))
    preview = shop.preview(subscription, better)
    # given that the answer to it comes twenty minutes later
    shop.at(shop.now + timedelta(minutes=20))

    assert shop.change(subscription, better, quoted_at=preview["quoted_at"], total=preview["total"]).status_code == 200

    same_as_invoice(preview, newest(subscription))
    assert newest(subscription).total == Decimal(str(preview["total"]))


def test_a_second_upgrade_in_the_period_starts_from_the_first(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)
    assert shop.change(subscription, pro).status_code == 200
    shop.at(TWENTIETH)
    best = plan("87.00")

    preview = shop.preview(subscription, best)

    assert amounts(preview["lines"]) == [("proration_charge", 27.0), ("proration_credit", -18.0)]
    assert shop.change(subscription, best, quoted_at=preview["quoted_at"], total=9).status_code == 200
    same_as_invoice(preview, newest(subscription))
    spans = periods(subscription)
    assert [start.day for start, _ in spans] == [31, 10, 20]
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert spans[-1][1] == END
    assert ledger() == {"provider_clearing": 29 + 19 + 9, "revenue": -57}
    shop.run(END)
    assert newest(subscription).total == 87


def test_a_credit_counts_what_was_given_back_of_its_payment(shop, user, basic, pro):
    """Half of the first payment went back: the rest of the time is worth half."""
    subscription = shop.buy(user, basic)
    shop.refund(subscription.transactions.get(type="charge"), amount="14.50")
    shop.at(TENTH)

    preview = shop.preview(subscription, pro)

    assert amounts(preview["lines"]) == [("proration_charge", 38.0), ("proration_credit", -9.5)]
    assert preview["lines"][1]["explanation"]["refunded"] == "14.50"
    assert shop.change(subscription, pro, total="28.50").status_code == 200
    assert ledger() == {"provider_clearing": Decimal("43.00"), "refunds": Decimal("14.50"), "revenue": Decimal("-57.5")}


def test_a_refund_after_an_upgrade_lowers_what_its_payment_had_carried_over(shop, user, basic, pro):
    """29.00 and 19.00 were paid and half of the first goes back: 9.50 of the 19.00 that it lent to Pro are gone."""
    subscription = shop.buy(user, basic)
    first = subscription.transactions.get(type="charge")
    shop.at(TENTH)
    assert shop.change(subscription, pro).status_code == 200
    shop.refund(first, amount="14.50")
    shop.at(TWENTIETH)

    # Pro's rest is worth 9/19 of the 28.50 that still stand behind it
    assert amounts(shop.preview(subscription, plan("87.00"))["lines"]) == [
        ("proration_charge", 27.0),
        ("proration_credit", -13.5),
    ]


def test_a_refund_of_the_difference_leaves_what_was_carried_over(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)
    assert shop.change(subscription, pro).status_code == 200
    shop.refund(subscription.transactions.latest("pk"), amount="9.50")
    shop.at(TWENTIETH)

    # half of the 19.00 went back, the 19.00 of the first payment stand: 9/19 of 28.50
    assert amounts(shop.preview(subscription, plan("87.00"))["lines"])[1] == ("proration_credit", -13.5)


def test_nobody_is_credited_for_a_period_that_was_given(shop, user, basic, settings):
    settings.MISSED_PERIODS = "forgive"
    subscription = shop.buy(user, basic)
    shop.run(datetime(2040, 5, 5, 10, tzinfo=UTC))  # after months of our own downtime
    assert subscription.periods.latest("start").source == "forgiven"
    shop.at(datetime(2040, 5, 21, 10, tzinfo=UTC))

    preview = shop.preview(subscription, plan("62.00"))

    # ten of the 31 days that end on 31 May are left
    assert amounts(preview["lines"]) == [("proration_charge", 20.0)]
    assert shop.change(subscription, plan("31.00"), total=10).status_code == 200
    assert ledger() == {"provider_clearing": 39, "revenue": -39}


def test_a_period_paid_by_credit_is_credited_too(shop, user, basic):
    subscription = shop.buy(user, basic)
    give_credit(user, "29.00")
    shop.run(END)
    assert (charges(subscription), invoices(subscription)) == ([("completed", 1, "")], ["paid", "paid"])
    shop.at(datetime(2040, 3, 21, 10, tzinfo=UTC))

    preview = shop.preview(subscription, plan("62.00"))

    # 10 of 31 days: 62.00 becomes 20.00, 29.00 becomes 9.35
    assert amounts(preview["lines"]) == [("proration_charge", 20.0), ("proration_credit", -9.35)]


@pytest.mark.parametrize(
    ("inclusive", "first", "total", "tax", "books"),
    [
        # 10 % on 29.00 and on the difference of 19.00
        (False, "31.90", "20.90", "1.90", {"provider_clearing": "52.80", "revenue": "-48.00", "tax": "-4.80"}),
        # of 29.00 and of 19.00, 10/110
        (True, "29.00", "19.00", "1.73", {"provider_clearing": "48.00", "revenue": "-43.63", "tax": "-4.37"}),
    ],
    ids=["exclusive", "inclusive"],
)
def test_tax_is_taken_of_the_difference_only(shop, user, basic, pro, inclusive, first, total, tax, books):
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(10), inclusive=inclusive)
    user.country = "DE"
    user.save()
    subscription = shop.buy(user, basic)
    assert newest(subscription).total == Decimal(first)
    shop.at(TENTH)

    preview = shop.preview(subscription, pro)
    assert shop.change(subscription, pro, quoted_at=preview["quoted_at"], total=total).status_code == 200

    invoice = newest(subscription)
    same_as_invoice(preview, invoice)
    assert invoice.total == Decimal(total)
    assert invoice.tax + invoice.tax_included == Decimal(tax)
    assert ledger() == {account: Decimal(amount) for account, amount in books.items()}


def test_credit_pays_an_upgrade_without_a_charge(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    give_credit(user, "25.00")
    shop.at(TENTH)

    preview = shop.preview(subscription, pro)
    assert (preview["credit"], preview["total"]) == (19.0, 0.0)
    assert shop.change(subscription, pro, quoted_at=preview["quoted_at"], total=0).status_code == 200

    same_as_invoice(preview, newest(subscription))
    assert (fresh(subscription).plan, newest(subscription).status, credit(user)) == (pro, "paid", 6)
    assert charges(subscription) == [("completed", 1, "")]
    assert ledger() == {"provider_clearing": 29, "discounts": 25, "customer_credit": -6, "revenue": -48}


def test_what_credit_pays_needs_no_page_though_no_method_is_stored(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    shop.no_card(subscription)
    give_credit(user, "19.00")
    shop.at(TENTH)

    assert shop.preview(subscription, pro)["effective"] == "now"
    data = shop.change(subscription, pro).json()["data"]

    assert (data["checkout_url"], data["change"]["status"], fresh(subscription).plan) == (None, "applied", pro)
    assert credit(user) == 0


def test_a_change_keeps_the_currency_of_the_subscription(shop, user, basic, pro):
    PlanPrice.objects.create(plan=basic, currency="EUR", amount=Decimal("26.10"))
    PlanPrice.objects.create(plan=pro, currency="EUR", amount=Decimal("55.10"))
    subscription = shop.buy(user, basic, currency="EUR")
    shop.at(TENTH)

    # 19 of 29 days: 36.10 less 17.10
    assert shop.change(subscription, pro, currency="EUR", total=19).status_code == 200

    row = fresh(subscription)
    assert (row.currency, row.amount, newest(row).currency) == ("EUR", Decimal("55.10"), "EUR")
    assert (ledger("EUR")["revenue"], ledger()) == (Decimal("-45.10"), {})


def test_an_operator_and_a_service_change_it_for_the_subscriber(shop, user, admin, service_key, basic, pro):
    subscription = shop.buy(user, basic)
    url = f"/api/v1/subscriptions/{subscription.pk}/change-plan"
    shop.at(TENTH)

    assert Api().as_user(admin).post(url, {"plan_id": str(pro.pk)}).status_code == 200
    assert Api().as_service(service_key).post(url, {"plan_id": basic.code}).status_code == 200

    assert fresh(subscription).plan == pro
    assert subscription.changes.get(status="open").plan == basic
    assert PaymentTransaction.objects.filter(subscription=subscription).count() == 2


def test_a_currency_without_decimals_is_divided_into_whole_ones(shop, user):
    yen = {"currency": "JPY", "proration_unit": "day"}
    subscription = shop.buy(user, PlanFactory(price=Decimal("1000"), **yen))
    shop.at(TENTH)

    # 19 of 29 days: 1310.34 less 655.17
    assert shop.change(subscription, PlanFactory(price=Decimal("2000"), **yen), total=655).status_code == 200

    assert newest(subscription).total == 655
    assert ledger("JPY") == {"provider_clearing": 1655, "revenue": -1655}
