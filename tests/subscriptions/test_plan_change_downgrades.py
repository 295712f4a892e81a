"""Changes of plan that cost less: they wait for the end of the paid time, or what is left becomes credit."""

from __future__ import annotations

from decimal import Decimal

from payments.models import TaxRate
from subscriptions.access import has_access
from subscriptions.models import SubscriptionChange
from tests.flows import (
    DAY,
    START,
    credit,
    fresh,
    invoices,
    ledger,
    nothing_changes,
    periods,
    refused,
    steps,
)
from tests.subscriptions.february import END, NEXT, TENTH, TWENTIETH, amounts, newest, plan, same_as_invoice


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
