"""Changes between cycles, and in a trial: when they begin, and on which anchor."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.flows import (
    DAY,
    START,
    credit,
    fresh,
    invoices,
    ledger,
    periods,
)
from tests.subscriptions.february import TENTH, amounts, newest, plan, same_as_invoice


def test_monthly_to_yearly_begins_a_year_now(shop, user, basic):
    subscription = shop.buy(user, basic)
    yearly = plan("365.00", billing_cycle="yearly")
    shop.at(TENTH)

    preview = shop.preview(subscription, yearly, when="now")
    assert amounts(preview["lines"]) == [("plan", 365.0), ("proration_credit", -19.0)]
    assert (
        shop.change(
            subscription, yearly, when="now", quoted_at=preview["quoted_at"], total=preview["total"]
        ).status_code
        == 200
    )

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
    assert shop.change(subscription, monthly, quoted_at=preview["quoted_at"], total=0).status_code == 200

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
    assert shop.change(trial, better, quoted_at=preview["quoted_at"], total=0).status_code == 200

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
