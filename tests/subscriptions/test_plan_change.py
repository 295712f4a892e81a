"""Changes of plan that happen: what is previewed is what is charged, and what is left is worth what was paid for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payments.models import PaymentTransaction, TaxRate
from plans.models import PlanPrice
from subscriptions.access import has_access
from subscriptions.models import SubscriptionChange
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import (
    DAY,
    START,
    charges,
    credit,
    fresh,
    give_credit,
    invoices,
    ledger,
    nothing_changes,
    periods,
    refused,
    steps,
)

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
#: 19 of the 29 days are left.
TENTH = datetime(2040, 2, 10, 10, 0, tzinfo=UTC)
#: 9 of the 29 days are left.
TWENTIETH = datetime(2040, 2, 20, 10, 0, tzinfo=UTC)


def plan(price: str, **fields):
    """A monthly plan whose time is divided by days, so that figures are exact."""
    return PlanFactory(price=Decimal(price), proration_unit="day", **fields)


@pytest.fixture
def basic(db):
    return plan("29.00", name="Basic")


@pytest.fixture
def pro(db):
    return plan("58.00", name="Pro")


def amounts(lines) -> list[tuple[str, float]]:
    return [(line["kind"], line["amount"]) for line in lines]


def newest(subscription):
    return subscription.invoices.latest("pk")


def same_as_invoice(preview, invoice) -> None:
    """Every figure and every line of the preview, on the invoice that was made."""
    sums = ("subtotal", "discount", "tax", "tax_included", "credit", "total")
    assert {name: Decimal(str(preview[name])) for name in sums} == {name: getattr(invoice, name) for name in sums}
    shown = [
        (each["kind"], each["description"], Decimal(str(each["amount"])), each["explanation"])
        for each in preview["lines"]
    ]
    written = invoice.lines.order_by("position")
    assert shown == [(line.kind, line.description, line.amount, line.explanation) for line in written]


# --- upgrades --------------------------------------------------------------------------------------------------------


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
    assert (charge.explanation["share"], charge.explanation["unit"]) == ("19/29", "day")
    assert (credited.explanation["share"], credited.explanation["charge"]) == ("19/29", "29.00")
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


# --- downgrades ------------------------------------------------------------------------------------------------------


def test_a_downgrade_waits_for_the_end_of_the_paid_time(shop, user, basic, pro):
    subscription = shop.buy(user, pro)
    shop.at(TENTH)

    preview = shop.preview(subscription, basic)
    assert (preview["effective"], preview["effective_at"], preview["lines"]) == (
        "period_end",
        "2040-02-29T10:00:00Z",
        [],
    )
    assert (preview["total"], preview["next_amount"], preview["next_charge_at"]) == (0.0, 29.0, "2040-02-29T10:00:00Z")
    answer = shop.change(subscription, basic, quoted_at=preview["quoted_at"], total=0)

    change = answer.json()["data"]["change"]
    assert (change["status"], change["effective"], change["effective_at"]) == (
        "open",
        "period_end",
        "2040-02-29T10:00:00Z",
    )
    assert (fresh(subscription).plan, periods(subscription), invoices(subscription)) == (pro, [(START, END)], ["paid"])
    # when the period is over
    shop.run(END)
    row = fresh(subscription)
    assert (row.plan, row.amount, row.anchor, row.end_date) == (basic, 29, START, NEXT)
    assert row.periods.get(start=END).plan == basic
    assert row.changes.get().status == "applied"
    assert ledger() == {"provider_clearing": 87, "revenue": -87}


def test_a_planned_change_is_taken_back_by_asking_for_the_present_plan(shop, user, basic, pro):
    subscription = shop.buy(user, pro)
    assert shop.change(subscription, basic).status_code == 200

    answer = shop.change(subscription, pro)

    assert (answer.status_code, answer.json()["data"]["change"]) == (200, None)
    assert subscription.changes.get().status == "cancelled"
    with nothing_changes():
        refused(shop.change(subscription, pro), 400, "VALIDATION_ERROR")
    shop.run(END)
    assert (fresh(subscription).plan, newest(subscription).total) == (pro, 58)


def test_another_planned_change_replaces_the_first(shop, user, basic, pro):
    subscription = shop.buy(user, pro)
    least = plan("14.50")
    shop.change(subscription, basic)

    assert shop.change(subscription, least).status_code == 200

    assert list(subscription.changes.order_by("pk").values_list("plan", "status")) == [
        (basic.pk, "cancelled"),
        (least.pk, "open"),
    ]
    shop.run(END)
    assert (fresh(subscription).plan, newest(subscription).total) == (least, Decimal("14.50"))


def test_an_upgrade_replaces_a_planned_downgrade(shop, user, basic, pro):
    subscription = shop.buy(user, pro)
    shop.change(subscription, basic)
    shop.at(TENTH)

    assert shop.change(subscription, plan("87.00"), total="19.00").status_code == 200

    shop.run(END)
    assert (fresh(subscription).amount, newest(subscription).total) == (87, 87)


def test_a_price_move_is_no_planned_change_of_the_subscriber(shop, user, basic):
    """Asking for the plan one has must not keep the old price."""
    subscription = shop.buy(user, basic)
    SubscriptionChange.objects.create(
        subscription=subscription,
        reason="price_move",
        effective="period_end",
        effective_at=END,
        from_plan=basic,
        plan=basic,
        amount=Decimal("30.00"),
        currency="USD",
        billing_cycle="monthly",
        actor="operator",
        created_at=START,
    )

    with nothing_changes():
        refused(shop.change(subscription, basic), 400, "VALIDATION_ERROR")

    shop.run(END)
    assert newest(subscription).total == 30


def test_a_downgrade_now_makes_the_rest_credit_that_the_next_renewal_consumes(shop, user, basic, pro):
    subscription = shop.buy(user, pro)
    shop.at(TENTH)

    preview = shop.preview(subscription, basic, when="now")
    assert amounts(preview["lines"]) == [("proration_charge", 19.0), ("proration_credit", -19.0)]
    assert (preview["total"], preview["credit_granted"], preview["effective"]) == (0.0, 19.0, "now")
    answer = shop.change(subscription, basic, when="now", quoted_at=preview["quoted_at"], total=0)

    assert answer.status_code == 200
    same_as_invoice(preview, newest(subscription))
    row = fresh(subscription)
    assert (row.plan, row.end_date, credit(user)) == (basic, END, 19)
    assert ledger() == {"provider_clearing": 58, "customer_credit": -19, "revenue": -39}
    # and what is left of the cheaper plan is still worth what it was paid with
    shop.at(TWENTIETH)
    assert amounts(shop.preview(row, pro)["lines"])[:2] == [("proration_charge", 18.0), ("proration_credit", -9.0)]
    # when it renews
    shop.run(END)
    assert (newest(row).credit, newest(row).total, credit(user)) == (19, 10, 0)
    assert ledger() == {"provider_clearing": 68, "revenue": -68}


def test_tax_of_what_becomes_credit_is_owed_no_more(shop, user, basic, pro):
    TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(10))
    user.country = "DE"
    user.save()
    subscription = shop.buy(user, pro)
    shop.at(TENTH)

    assert shop.change(subscription, basic, when="now").status_code == 200

    # 58.00 and 5.80 were paid; 19.00 with its 1.90 wait for the next invoice
    assert credit(user) == Decimal("20.90")
    assert ledger() == {
        "provider_clearing": Decimal("63.80"),
        "customer_credit": Decimal("-20.90"),
        "revenue": -39,
        "tax": Decimal("-3.90"),
    }
    # and what is given back of Basic has its tax too: 9.00 and 0.90
    shop.at(TWENTIETH)
    assert shop.post(subscription, "pause").status_code == 200
    assert credit(user) == Decimal("30.80")
    assert ledger()["tax"] == Decimal("-3.00")


def test_to_a_free_plan_at_the_end(shop, user, basic):
    subscription = shop.buy(user, basic)
    free = plan("0.00")

    answer = shop.change(subscription, free)
    assert answer.json()["data"]["change"]["effective"] == "period_end"
    with nothing_changes():
        refused(shop.change(subscription, free, when="now"), 400, "VALIDATION_ERROR")
    shop.run(END)

    row = fresh(subscription)
    assert (row.status, row.plan, row.end_date, row.next_action_at, row.provider) == ("active", free, None, None, None)
    assert has_access(row, NEXT + 400 * DAY)
    assert (invoices(row), periods(row), ledger()) == (
        ["paid"],
        [(START, END)],
        {"provider_clearing": 29, "revenue": -29},
    )
    # and a paid one takes its place again
    assert shop.buy(user, basic).status == "active"
    assert steps(row)[-1] == ("expired", "replaced")


# --- other cycles ----------------------------------------------------------------------------------------------------


def test_monthly_to_yearly_begins_a_year_now(shop, user, basic):
    subscription = shop.buy(user, basic)
    yearly = plan("365.00", billing_cycle="yearly")
    shop.at(TENTH)

    preview = shop.preview(subscription, yearly, when="now")
    assert amounts(preview["lines"]) == [("plan", 365.0), ("proration_credit", -19.0)]
    assert shop.change(subscription, yearly, when="now", quoted_at=preview["quoted_at"]).status_code == 200

    same_as_invoice(preview, newest(subscription))
    row = fresh(subscription)
    began = datetime.fromisoformat(preview["quoted_at"])
    assert (row.anchor, row.current_period_start, row.end_date) == (began, began, began.replace(year=2041))
    assert preview["next_charge_at"] == row.end_date.isoformat().replace("+00:00", "Z")
    assert periods(row) == [(START, began), (began, row.end_date)]
    assert (row.billing_cycle, ledger()) == ("yearly", {"provider_clearing": 375, "revenue": -375})
    shop.run(row.end_date)
    assert (newest(row).total, fresh(row).end_date) == (365, began.replace(year=2042))


def test_yearly_to_monthly_in_mid_period_where_a_month_costs_more_begins_now(shop, user):
    """Design, example: yearly to monthly. The unused year pays the months until it is used up."""
    shop.at(datetime(2040, 3, 1, 10, tzinfo=UTC))
    subscription = shop.buy(user, plan("365.00", billing_cycle="yearly"))
    monthly = plan("62.00")
    shop.at(datetime(2040, 12, 1, 10, tzinfo=UTC))  # 90 of 365 days are left

    preview = shop.preview(subscription, monthly)
    assert amounts(preview["lines"]) == [("plan", 62.0), ("proration_credit", -62.0)]
    assert (preview["effective"], preview["total"], preview["credit_granted"]) == ("now", 0.0, 28.0)
    assert shop.change(subscription, monthly, quoted_at=preview["quoted_at"]).status_code == 200

    same_as_invoice(preview, newest(subscription))
    row = fresh(subscription)
    began = datetime.fromisoformat(preview["quoted_at"])
    assert (row.anchor, row.end_date, credit(user)) == (began, began.replace(year=2041, month=1), 28)
    # then January is paid with what is left, and money
    shop.run(row.end_date)
    assert (newest(row).credit, newest(row).total, credit(user)) == (28, 34, 0)
    assert ledger() == {"provider_clearing": 399, "revenue": -399}


def test_yearly_to_monthly_in_mid_period_where_a_month_costs_less_waits_for_the_end(shop, user):
    subscription = shop.buy(user, plan("365.00", billing_cycle="yearly"))
    end = START.replace(year=2041)
    shop.at(TENTH)

    assert shop.change(subscription, plan("29.00")).json()["data"]["change"]["effective"] == "period_end"
    shop.run(end)

    row = fresh(subscription)
    assert (row.billing_cycle, row.anchor, row.end_date) == ("monthly", end, datetime(2041, 2, 28, 10, tzinfo=UTC))
    assert ledger() == {"provider_clearing": 394, "revenue": -394}
    shop.run(row.end_date)
    assert periods(row)[-1] == (datetime(2041, 2, 28, 10, tzinfo=UTC), datetime(2041, 3, 31, 10, tzinfo=UTC))


# --- trials and currencies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cycle", ["monthly", "yearly"])
def test_a_trial_changes_at_once_and_moves_no_money(shop, user, cycle):
    checkout = shop.checkout(user, plan("29.00", trial_days=14))
    shop.pay(checkout)
    trial, better = fresh(checkout.subscription), plan("290.00", billing_cycle=cycle)
    ends = START + 14 * DAY
    shop.at(START + 4 * DAY)

    preview = shop.preview(trial, better)
    assert (preview["effective"], preview["total"], preview["lines"]) == ("now", 0.0, [])
    assert (preview["next_amount"], preview["next_charge_at"]) == (290.0, ends.isoformat().replace("+00:00", "Z"))
    assert shop.change(trial, better, quoted_at=preview["quoted_at"]).status_code == 200

    row = fresh(trial)
    assert (row.status, row.plan, row.trial_ends_at, row.end_date, row.anchor) == ("trial", better, ends, ends, ends)
    began = datetime.fromisoformat(preview["quoted_at"])
    assert periods(row) == [(START, began), (began, ends)]
    assert {period.source for period in row.periods.all()} == {"trial"}
    assert (invoices(row), ledger()) == ([], {})
    # and where it ends the new plan is charged, for its own cycle
    shop.run(ends)
    row = fresh(row)
    assert (row.status, newest(row).total) == ("active", 290)
    assert row.end_date == (ends.replace(year=2041) if cycle == "yearly" else ends.replace(month=3))


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


@pytest.mark.parametrize(("price", "effective"), [("86.99", "period_end"), ("87.00", "period_end"), ("90.00", "now")])
def test_what_costs_more_is_decided_by_the_month(shop, user, basic, price, effective):
    """A quarter against three months."""
    subscription = shop.buy(user, basic)
    shop.at(TENTH)

    preview = shop.preview(subscription, plan(price, billing_interval=3))

    assert preview["effective"] == effective
    if effective == "now":
        assert amounts(preview["lines"]) == [("plan", 90.0), ("proration_credit", -19.0)]
        assert preview["next_charge_at"].startswith("2040-05-10T10:00:00")
