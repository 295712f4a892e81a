"""What follows a renewal that could not be paid: grace, retries, suspension, the end; and the ends of what doesn't renew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from payments.models import PaymentTransaction
from providers.sandbox.models import SandboxPayment
from subscriptions.access import has_access
from subscriptions.models import Checkout
from subscriptions.services.due import LEASE
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, charges, fresh, invoices, ledger, nothing_changes, periods, refused, steps

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
FIRST = ("completed", 1, "")
HOUR = timedelta(hours=1)


def test_declines_lead_over_four_retries_to_suspension_and_to_the_end(shop, user):
    subscription = shop.buy(user, card="decline")

    shop.run(END)

    row = fresh(subscription)
    assert (row.status, row.end_date, row.grace_until, row.dunning_step) == ("past_due", END, END + 7 * DAY, 0)
    assert (charges(row), invoices(row)) == ([FIRST, ("failed", 1, "insufficient_funds")], ["paid", "open"])
    assert ledger() == {"provider_clearing": 10, "receivable": 10, "revenue": -20}
    # access lasts for the grace, not longer
    assert has_access(row, END + 7 * DAY - HOUR)
    assert not has_access(row, END + 7 * DAY)

    for number, day in enumerate((2, 7, 14, 21), start=2):
        assert row.next_action_at == END + day * DAY
        shop.run(END + day * DAY - HOUR)
        assert len(charges(row)) == number
        shop.run(END + day * DAY)
        row = fresh(row)
        assert charges(row)[1:] == [("failed", attempt, "insufficient_funds") for attempt in range(1, number + 1)]
        assert row.status == "past_due"

    # then it is suspended, and after 30 days it ends
    suspended = END + 21 * DAY
    shop.run(suspended)
    row = fresh(row)
    assert (row.status, row.suspended_at, row.next_action_at) == ("suspended", suspended, suspended + 30 * DAY)
    assert not has_access(row, suspended)
    shop.run(suspended + 30 * DAY - HOUR)
    assert fresh(row).status == "suspended"
    shop.run(suspended + 30 * DAY)
    row = fresh(row)
    assert (row.status, row.cancelled_at, row.next_action_at) == ("cancelled", suspended + 30 * DAY, None)
    assert invoices(row) == ["paid", "uncollectible"]
    assert periods(row) == [(START, END)]
    assert ledger() == {"provider_clearing": 10, "revenue": -20, "write_off": 10}
    assert steps(row)[2:] == [("past_due", "payment_failed"), ("suspended", "dunning_ended"), ("cancelled", "unpaid")]
    assert SandboxPayment.objects.filter(kind="charge").count() == 5
    with nothing_changes():
        shop.run(suspended + 400 * DAY)

    # and what was given up is not asked for again: who comes back subscribes anew
    body = {"invoice_id": str(row.invoices.get(status="uncollectible").pk)}
    with nothing_changes():
        refused(Api().as_user(user).post("/api/v1/payments/", body), 409, "INVALID_TRANSITION")
    assert shop.buy(user).status == "active"


def test_a_retry_that_succeeds_restores_the_original_period(shop, user):
    subscription = shop.buy(user, card="decline")
    shop.run(END)
    shop.run(END + 2 * DAY)
    shop.card(subscription, "ok")

    shop.run(END + 7 * DAY)

    row = fresh(subscription)
    assert (row.status, row.current_period_start, row.end_date, row.anchor) == ("active", END, NEXT, START)
    assert (row.grace_until, row.dunning_step, row.next_action_at) == (None, 0, NEXT)
    assert [attempt for _, attempt, _ in charges(row)] == [1, 1, 2, 3]
    assert periods(row) == [(START, END), (END, NEXT)]
    assert steps(row)[-2:] == [("past_due", "payment_failed"), ("active", "recovered")]
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_payment_after_suspension_begins_a_new_period(shop, user):
    subscription = shop.buy(user, card="stolen")
    # given a hard decline: nothing is tried again on schedule
    shop.run(END)
    row = fresh(subscription)
    assert (charges(row)[1:], row.next_action_at) == ([("failed", 1, "stolen_card")], END + 7 * DAY)
    shop.run(END + 2 * DAY)
    assert len(charges(row)) == 2
    shop.run(END + 7 * DAY)
    row = fresh(row)
    assert (row.status, row.next_action_at) == ("suspended", END + 37 * DAY)

    # when the customer pays with another card
    back = END + 10 * DAY
    shop.at(back)
    method = shop.second_card(user)
    client = Api().as_user(user)
    url = f"/api/v1/subscriptions/{row.pk}"
    assert client.put(url, {"payment_method_id": str(method.pk)}).json()["data"]["status"] == "active"

    row = fresh(row)
    start, end = periods(row)[-1]
    assert (row.status, row.anchor, row.current_period_start, row.end_date) == ("active", start, start, end)
    assert back <= start < back + HOUR
    assert end - start == 31 * DAY  # 10 March to 10 April
    assert periods(row)[:-1] == [(START, END)]
    assert (row.suspended_at, row.grace_until, row.payment_method) == (None, None, method)
    assert invoices(row) == ["paid", "paid"]
    assert ledger() == {"provider_clearing": 20, "revenue": -20}
    shop.run(end)
    assert fresh(row).current_period_start == end


@pytest.mark.parametrize(("cycle", "days", "attempts"), [("weekly", 7, 2), ("daily", 1, 1)])
def test_grace_and_retries_end_no_later_than_the_unpaid_period(shop, user, cycle, days, attempts):
    """Design, example: dunning on a weekly plan."""
    subscription = shop.buy(user, PlanFactory(billing_cycle=cycle), card="decline")
    due = START + days * DAY
    assert fresh(subscription).end_date == due

    shop.run(due)
    assert fresh(subscription).grace_until == due + days * DAY
    shop.run(due + 2 * DAY if days > 2 else due)
    shop.run(due + days * DAY)

    row = fresh(subscription)
    assert (row.status, row.suspended_at) == ("suspended", due + days * DAY)
    assert len(charges(row)) == 1 + attempts
    # and a success after that starts a new period
    shop.card(row, "ok")
    shop.at(due + (days + 1) * DAY)
    assert Api().as_user(user).post(f"/api/v1/subscriptions/{row.pk}/retry-payment").status_code == 200
    assert fresh(row).end_date - fresh(row).anchor == days * DAY
    assert fresh(row).anchor >= shop.now


def test_a_daily_plan_whose_charge_is_found_a_day_late_is_not_given_a_day_for_nothing(shop, user):
    subscription = shop.buy(user, PlanFactory(billing_cycle="daily"), card="timeout")
    shop.at(START + DAY)
    shop.due()
    assert charges(subscription)[-1][0] == "pending"

    # when nobody looks for a day and a half
    shop.card(subscription, "ok")
    shop.at(START + timedelta(days=2, hours=12))
    for _ in range(4):
        shop.due()

    # then every day is billed once
    assert periods(subscription) == [(START + n * DAY, START + (n + 1) * DAY) for n in range(3)]
    assert charges(subscription) == [FIRST] * 3
    assert fresh(subscription).anchor == START


def test_what_is_not_renewed_expires_and_what_was_cancelled_is_cancelled(shop, user, other_user):
    expiring, cancelled = shop.buy(user), shop.buy(other_user)
    client = Api().as_user(user)
    assert client.put(f"/api/v1/subscriptions/{expiring.pk}", {"auto_renew": False}).status_code == 200
    assert Api().as_user(other_user).delete("/api/v1/subscriptions/me").status_code == 200
    assert (fresh(expiring).status, fresh(cancelled).status) == ("active", "active")
    assert has_access(fresh(expiring), END - HOUR)

    shop.run(END)

    assert steps(expiring)[-1] == ("expired", "not_renewed")
    assert steps(cancelled)[-1] == ("cancelled", "cancelled")
    for row in (fresh(expiring), fresh(cancelled)):
        assert (row.end_date, row.next_action_at, invoices(row)) == (END, None, ["paid"])
        assert not has_access(row, END)
    assert ledger() == {"provider_clearing": 20, "revenue": -20}
    refused(client.get("/api/v1/subscriptions/me"), 404, "NOT_FOUND")


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "declined"])
def test_a_cancellation_while_the_renewal_is_unknown_keeps_what_is_paid_and_no_more(shop, user, taken):
    subscription = shop.buy(user, card="timeout" if taken else "decline")
    if not taken:
        shop.unreachable()
    shop.at(END)
    shop.due()
    assert charges(subscription)[-1] == ("pending", 1, "")
    if not taken:
        shop.reachable()
    # given the customer cancels before anybody knows
    assert Api().as_user(user).delete("/api/v1/subscriptions/me").status_code == 200

    for moment in (END + HOUR, END + HOUR + LEASE, END + HOUR + 2 * LEASE):
        shop.run(moment)

    row = fresh(subscription)
    assert row.cancelled_at is not None
    if taken:
        # then the period that was paid is kept to its end, and is the last one
        assert (row.status, row.end_date, invoices(row)) == ("active", NEXT, ["paid", "paid"])
        shop.run(NEXT)
        assert steps(row)[-1] == ("cancelled", "cancelled")
        assert ledger() == {"provider_clearing": 20, "revenue": -20}
    else:
        # then nothing is owed and nothing is tried again
        assert steps(row)[-1] == ("cancelled", "cancelled")
        assert (row.end_date, invoices(row), charges(row)[1:]) == (
            END,
            ["paid", "void"],
            [("failed", 1, "not_wanted")],
        )
        assert (periods(row), ledger()) == ([(START, END)], {"provider_clearing": 10, "revenue": -10})


def test_a_cancellation_in_dunning_is_immediate_and_voids_the_invoice(shop, user):
    subscription = shop.buy(user, card="decline")
    shop.run(END)
    moment = END + DAY
    shop.at(moment)

    answer = Api().as_user(user).delete("/api/v1/subscriptions/me")

    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "cancelled")
    row = fresh(subscription)
    assert (row.end_date, row.next_action_at, row.grace_until) == (END, None, None)
    assert row.cancelled_at >= moment
    assert (invoices(row), periods(row)) == (["paid", "void"], [(START, END)])
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    shop.card(row, "ok")
    with nothing_changes():
        shop.run(END + 2 * DAY)
    assert not has_access(row, moment)


def test_a_charge_that_settles_after_its_invoice_was_voided_is_unapplied(shop, user):
    subscription = shop.buy(user, card="timeout")
    shop.at(END)
    shop.due()
    assert Api().as_user(user).delete("/api/v1/subscriptions/me?when=now").status_code == 200
    assert (fresh(subscription).status, invoices(subscription)) == ("cancelled", ["paid", "void"])

    shop.drain()

    late = PaymentTransaction.objects.latest("pk")
    assert (late.status, late.invoice, late.reason) == ("completed", None, "its invoice is void")
    assert fresh(subscription).status == "cancelled"
    assert ledger() == {"provider_clearing": 20, "revenue": -10, "unapplied_payments": -10}


def test_the_page_of_an_invoice_that_another_way_has_paid_is_shown_no_more(shop, user):
    subscription = shop.buy(user)
    url = f"/api/v1/subscriptions/{subscription.pk}"
    client = Api().as_user(user)
    client.put(url, {"payment_method_id": None})
    shop.run(END)
    link = Checkout.objects.get(purpose="invoice")
    body = {"invoice_id": str(link.invoice_id), "payment_method": str(shop.second_card(user).pk)}

    assert client.post("/api/v1/payments/", body).status_code == 201

    assert fresh(link).status == "superseded"
    assert client.get(url).json()["data"]["checkout"] is None
    # when it is paid all the same, nothing is granted twice
    end = fresh(subscription).end_date
    shop.pay(link)
    assert fresh(subscription).end_date == end == NEXT
    assert ledger() == {"provider_clearing": 30, "revenue": -20, "unapplied_payments": -10}


# --- what the subscriber does meanwhile ------------------------------------------------------------------------------


def test_who_switches_the_renewal_off_in_his_grace_is_not_charged_again_and_ends_with_it(shop, user):
    subscription = shop.buy(user, card="decline")
    shop.run(END)
    url = f"/api/v1/subscriptions/{subscription.pk}"

    assert Api().as_user(user).put(url, {"auto_renew": False}).status_code == 200

    row = fresh(subscription)
    assert (row.status, row.next_action_at) == ("past_due", END + 7 * DAY)
    shop.card(row, "ok")
    with nothing_changes():
        for day in (2, 5):
            shop.run(END + day * DAY)
    assert has_access(row, END + 7 * DAY - HOUR)
    shop.run(END + 7 * DAY)
    row = fresh(row)
    assert (steps(row)[-1], row.next_action_at) == (("expired", "not_renewed"), None)
    assert (invoices(row), periods(row)) == (["paid", "void"], [(START, END)])
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_a_new_method_pays_at_once_what_is_past_due(shop, user):
    subscription = shop.buy(user, card="stolen")
    shop.run(END)
    method = shop.second_card(user)
    url = f"/api/v1/subscriptions/{subscription.pk}"

    body = Api().as_user(user).put(url, {"payment_method_id": str(method.pk)}).json()["data"]

    assert (body["status"], body["payment_method_id"]) == ("active", str(method.pk))
    row = fresh(subscription)
    assert (row.end_date, row.anchor, charges(row)[1:]) == (
        NEXT,
        START,
        [("failed", 1, "stolen_card"), ("completed", 2, "")],
    )
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_new_method_that_is_declined_is_kept_and_keeps_the_schedule(shop, user):
    subscription = shop.buy(user, card="decline")
    shop.run(END)
    before = fresh(subscription)
    method = shop.second_card(user, "decline")
    url = f"/api/v1/subscriptions/{subscription.pk}"

    answer = Api().as_user(user).put(url, {"payment_method_id": str(method.pk)})

    row = fresh(subscription)
    assert (answer.status_code, row.status, row.payment_method) == (200, "past_due", method)
    assert (row.next_action_at, row.dunning_step) == (before.next_action_at, before.dunning_step)
    assert row.grace_until == before.grace_until
    assert [attempt for _, attempt, _ in charges(row)[1:]] == [1, 2]
    # and the scheduled retry charges the new one
    shop.card(row, "ok")
    shop.run(END + 2 * DAY)
    assert fresh(row).status == "active"


def test_a_new_method_that_is_declined_for_good_while_suspended_leaves_it_so(shop, user):
    subscription = shop.buy(user, card="stolen")
    shop.run(END)
    shop.run(END + 7 * DAY)
    method = shop.second_card(user, "stolen")

    answer = Api().as_user(user).put(f"/api/v1/subscriptions/{subscription.pk}", {"payment_method_id": str(method.pk)})

    row = fresh(subscription)
    assert (answer.status_code, row.status, row.next_action_at) == (200, "suspended", END + 37 * DAY)


def test_a_new_method_whose_provider_is_silent_is_kept_and_asked_about(shop, user):
    subscription = shop.buy(user, card="decline")
    shop.run(END)
    method = shop.second_card(user)
    shop.unreachable()

    answer = Api().as_user(user).put(f"/api/v1/subscriptions/{subscription.pk}", {"payment_method_id": str(method.pk)})

    assert (answer.status_code, fresh(subscription).payment_method) == (200, method)
    assert charges(subscription)[-1] == ("pending", 2, "")
    shop.reachable()
    shop.sweep("payments_charges", later=timedelta(minutes=3))
    assert fresh(subscription).status == "active"


def test_a_payment_after_a_cancellation_is_kept_apart_and_grants_nothing(shop, user):
    """Design, example: the page of an invoice is paid after the subscription was cancelled."""
    subscription = shop.buy(user)
    shop.no_card(subscription)
    shop.run(END)
    link = Checkout.objects.get(purpose="invoice")
    assert Api().as_user(user).delete("/api/v1/subscriptions/me").json()["data"]["status"] == "cancelled"

    shop.pay(link)

    row = fresh(subscription)
    assert (row.status, row.end_date, invoices(row)) == ("cancelled", END, ["paid", "void"])
    assert ledger() == {"provider_clearing": 20, "revenue": -10, "unapplied_payments": -10}
    assert not has_access(row, END)
