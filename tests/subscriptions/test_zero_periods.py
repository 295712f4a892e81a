"""Where time is divided by days nothing is left on the last: a change or a resume then makes no invoice."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from subscriptions.access import has_access
from tests.flows import START, charges, credit, fresh, invoices, ledger, periods, steps
from tests.subscriptions.february import END, NEXT, TENTH, newest, plan, taken

#: On the day on which the period ends.
MORNING = END - timedelta(hours=5)


@pytest.fixture
def basic(db):
    return plan("29.00", name="Basic", proration_unit="day")


@pytest.fixture
def pro(db):
    return plan("58.00", name="Pro", proration_unit="day")


@pytest.mark.parametrize("method", [True, False], ids=["with a method", "without"])
@pytest.mark.parametrize("when", ["now", None])
def test_a_change_over_no_time_makes_no_invoice(shop, bought, pro, when, method):
    subscription = bought()
    if not method:
        shop.no_card(subscription)
    shop.at(MORNING)

    preview = shop.preview(subscription, pro, when=when)
    assert (preview["lines"], preview["total"], preview["effective"]) == ([], 0.0, "now")
    assert (preview["next_amount"], preview["next_charge_at"]) == (58.0, "2040-02-29T10:00:00Z")
    answer = shop.change(subscription, pro, when=when, quoted_at=preview["quoted_at"], total=0)

    data = answer.json()["data"]
    assert (answer.status_code, data["change"]["status"], data["checkout_url"]) == (200, "applied", None)
    row, began = fresh(subscription), datetime.fromisoformat(preview["quoted_at"])
    assert (row.plan, row.end_date, row.anchor) == (pro, END, START)
    assert periods(row) == [(START, began), (began, END)]
    assert (invoices(row), charges(row), ledger()) == (
        ["paid"],
        [("completed", 1, "")],
        {"provider_clearing": 29, "revenue": -29},
    )
    if method:
        shop.run(END)
        assert (newest(row).number, newest(row).total, fresh(row).end_date) == ("INV-2040-000002", 58, NEXT)


def test_what_was_had_for_nothing_is_worth_nothing(shop, user, bought, basic, pro):
    subscription = bought()
    shop.at(MORNING)
    assert shop.change(subscription, pro, when="now").status_code == 200
    shop.at(MORNING + timedelta(hours=1))
    assert shop.change(subscription, basic, when="now").status_code == 200
    shop.at(MORNING + timedelta(hours=2))
    assert shop.post(subscription, "pause").status_code == 200

    assert (credit(user), invoices(subscription)) == (0, ["paid"])
    assert ledger() == {"provider_clearing": 29, "revenue": -29}


@pytest.mark.parametrize("by", ["subscriber", "date"])
def test_a_resume_over_no_time_makes_no_invoice(shop, user, bought, by):
    subscription = bought()
    body = {"resumes_at": MORNING.isoformat()} if by == "date" else {}
    assert shop.post(subscription, "pause", **body).status_code == 200
    paused_at = shop.at(TENTH) and fresh(subscription).paused_at

    if by == "date":
        shop.run(MORNING)
    else:
        shop.at(MORNING)
        assert shop.post(subscription, "resume").status_code == 200

    row = fresh(subscription)
    assert (row.status, row.end_date, row.paused_at, row.resumes_at) == ("active", END, None, None)
    assert row.next_action_at == END
    assert periods(row) == [(START, paused_at), (row.current_period_start, END)]
    assert has_access(row, END - timedelta(hours=1))
    assert (invoices(row), credit(user), steps(row)[-1]) == (["paid"], 18, ("active", "resumed"))
    # and the next period is billed as any other
    shop.run(END)
    assert (newest(row).credit, newest(row).total, taken()) == (18, 11, [11])
    assert fresh(row).end_date == NEXT
