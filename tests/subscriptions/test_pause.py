"""Pausing and resuming: no access and no bills meanwhile, and nobody gets more back than he paid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from payments.services.charges import charge_apply
from providers.base import Decline, Outcome, PaymentResult
from providers.sandbox.models import SandboxDelivery
from subscriptions.access import has_access
from subscriptions.models import Subscription
from subscriptions.services.due import LEASE
from tests.conftest import Api
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
from tests.subscriptions.february import END, LATER, NEXT, TENTH, TWENTIETH, plan


@pytest.fixture
def paused(shop, user):
    """Returns how to pause a subscription of 29.00 on 10 February."""

    def pause(*, card: str = "ok", **body):
        subscription = shop.buy(user, plan(), card=card)
        shop.at(TENTH)
        answer = shop.post(subscription, "pause", **body)
        assert answer.status_code == 200, answer.content
        return fresh(subscription)

    return pause


def test_a_pause_gives_the_unused_time_as_credit_and_bills_nothing(shop, user, paused):
    row = paused()

    assert (row.status, row.resumes_at, row.next_action_at, credit(user)) == ("paused", None, None, 19)
    assert row.end_date == row.paused_at
    assert periods(row) == [(START, row.paused_at)]
    assert not has_access(row, row.paused_at)
    assert Api().as_user(user).get("/api/v1/entitlements/").status_code == 200
    [grant] = Api().as_user(user).get("/api/v1/credits/").json()["data"]["results"][0]["grants"]
    told = {"formula": "(charge - discount) * kept * share", "charge": "29.00", "unit": "second"}
    assert told.items() <= grant["explanation"].items()
    books = {"provider_clearing": 29, "customer_credit": -19, "revenue": -10}
    assert ledger() == books
    # when two periods go by
    with nothing_changes():
        for moment in (END, NEXT, NEXT + 20 * DAY):
            shop.run(moment)
    assert not has_access(fresh(row), NEXT + 20 * DAY)

    # then it goes on for the rest of the third: 10 of the 30 days that end on 30 April
    answer = shop.post(row, "resume")
    row = fresh(row)
    assert (answer.status_code, row.status, row.anchor) == (200, "active", START)
    assert (row.end_date, row.paused_at, row.resumes_at) == (datetime(2040, 4, 30, 10, tzinfo=UTC), None, None)
    assert periods(row)[1:] == [(row.current_period_start, row.end_date)]
    invoice = row.invoices.latest("pk")
    assert (invoice.subtotal, invoice.credit, invoice.total) == (Decimal("9.67"), Decimal("9.67"), 0)
    line = invoice.lines.get(kind="proration_charge")
    assert (line.explanation["unit"], line.explanation["price"]) == ("second", "29.00")
    assert credit(user) == Decimal("9.33")
    # and the next renewal takes the rest of the credit
    shop.run(row.end_date)
    assert (row.invoices.latest("pk").total, credit(user)) == (Decimal("19.67"), 0)
    assert ledger() == {"provider_clearing": Decimal("48.67"), "revenue": Decimal("-48.67")}
    assert [step for step, _ in steps(row)] == ["pending", "active", "paused", "active"]


def test_it_resumes_by_itself_on_its_date(shop, user, paused):
    row = paused(resumes_at=TWENTIETH.isoformat())
    assert (row.resumes_at, row.next_action_at) == (TWENTIETH, TWENTIETH)

    shop.run(TWENTIETH)

    row = fresh(row)
    assert (row.status, row.current_period_start, row.end_date, row.anchor) == ("active", TWENTIETH, END, START)
    assert (credit(user), charges(row)) == (10, [("completed", 1, "")])
    assert has_access(row, TWENTIETH)
    shop.run(END)
    assert (fresh(row).end_date, credit(user)) == (NEXT, 0)
    assert ledger() == {"provider_clearing": 48, "revenue": -48}


def test_what_credit_does_not_pay_is_charged(shop, user, paused):
    """A yearly plan of somebody else has used the credit up meanwhile."""
    row = paused()
    give_nothing_but(shop, user, "4.00")
    shop.at(TWENTIETH)

    assert shop.post(row, "resume").status_code == 200

    invoice = row.invoices.latest("pk")
    assert (invoice.subtotal, invoice.credit, invoice.total, invoice.status) == (9, 4, 5, "paid")
    assert charges(row) == [("completed", 1, "")] * 2
    assert ledger() == {"provider_clearing": 34, "revenue": -34}


def give_nothing_but(shop, user, rest: str) -> None:
    """Spends the user's credit on a plan of another family, all but `rest`."""
    price = credit(user) - Decimal(rest)
    assert shop.subscribe(user, plan(str(price), family="extras")).json()["data"]["checkout_url"] is None
    Api().as_user(user).delete(f"/api/v1/subscriptions/{Subscription.objects.get(family='extras').pk}?when=now")
    assert credit(user) == Decimal(rest)


def test_pausing_again_and_again_gives_no_more_than_was_paid(shop, user, paused):
    row = paused()
    for days in (3, 6, 9):
        shop.at(TENTH + days * DAY)
        assert shop.post(row, "resume").status_code == 200
        shop.at(TENTH + (days + 1) * DAY)
        assert shop.post(row, "pause").status_code == 200

    # ten days were lived first, then three: 29.00 for 29 days
    assert credit(user) == 29 - 10 - 3
    assert ledger() == {"provider_clearing": 29, "customer_credit": -16, "revenue": -13}
    spans = periods(row)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def test_a_pause_and_a_resume_on_one_day_cost_nothing(shop, user, paused):
    row = paused()
    assert shop.post(row, "resume").status_code == 200
    assert credit(user) == 0
    assert (fresh(row).end_date, charges(row)) == (END, [("completed", 1, "")])


def test_a_provider_that_is_silent_on_the_date_is_asked_when_the_lease_ends(shop, user, paused):
    row = paused(card="timeout", resumes_at=TWENTIETH.isoformat())
    give_nothing_but(shop, user, "0.00")
    shop.at(TWENTIETH)
    assert shop.due() == 1
    SandboxDelivery.objects.filter(status="pending").delete()
    assert (fresh(row).status, charges(row)[-1]) == ("paused", ("pending", 1, ""))

    shop.run(TWENTIETH + LEASE)

    assert (fresh(row).status, fresh(row).end_date) == ("active", END)
    assert charges(row) == [("completed", 1, "")] * 2


@pytest.mark.parametrize("by", ["date", "hand"])
def test_a_resume_that_is_declined_has_its_grace(shop, user, paused, by):
    row = paused(card="decline", **({"resumes_at": TWENTIETH.isoformat()} if by == "date" else {}))
    give_nothing_but(shop, user, "0.00")
    shop.at(TWENTIETH)

    if by == "date":
        shop.run(TWENTIETH)
    else:
        assert shop.post(row, "resume").json()["data"]["status"] == "past_due"

    row = fresh(row)
    assert (row.status, row.paused_at, row.resumes_at) == ("past_due", None, None)
    assert timedelta(0) <= row.grace_until - (TWENTIETH + 7 * DAY) < timedelta(minutes=5)
    assert has_access(row, TWENTIETH + DAY)
    # and a retry that succeeds pays the rest of the period it resumed in
    shop.card(row, "ok")
    shop.run(row.next_action_at)
    row = fresh(row)
    assert (row.status, row.end_date, row.anchor, row.invoices.latest("pk").total) == ("active", END, START, 9)


def test_grace_after_a_resume_ends_no_later_than_what_it_would_pay(shop, user, paused):
    """Three days before the boundary: neither grace nor retries reach into the next period."""
    row = paused(card="decline")
    give_nothing_but(shop, user, "0.00")
    shop.at(END - 3 * DAY)

    assert shop.post(row, "resume").json()["data"]["status"] == "past_due"

    row = fresh(row)
    assert row.grace_until == END
    shop.run(END - DAY + LATER)  # the second day's retry
    assert len(charges(row)) == 1 + 2
    shop.run(END)
    row = fresh(row)
    assert (row.status, len(charges(row))) == ("suspended", 3)
    assert not has_access(row, END)


def test_a_provider_that_is_silent_at_the_resume_is_asked(shop, user, paused):
    row = paused(card="timeout")
    give_nothing_but(shop, user, "0.00")
    shop.at(TWENTIETH)

    assert shop.post(row, "resume").json()["data"]["status"] == "paused"

    SandboxDelivery.objects.filter(status="pending").delete()
    with nothing_changes():
        refused(shop.post(row, "resume"), 409, "PAYMENT_IN_PROGRESS")
    assert not has_access(fresh(row), TWENTIETH + LATER)
    assert shop.sweep("payments_charges", later=LATER) == 1
    row = fresh(row)
    assert (row.status, row.end_date, row.next_action_at) == ("active", END, END)
    assert charges(row) == [("completed", 1, "")] * 2
    assert ledger()["provider_clearing"] == 29 + 9


def test_a_cancellation_while_the_resume_is_unknown_keeps_its_payment_apart(shop, user, paused):
    row = paused(card="timeout")
    give_nothing_but(shop, user, "4.00")
    shop.at(TWENTIETH)
    assert shop.post(row, "resume").json()["data"]["status"] == "paused"
    assert credit(user) == 0
    assert Api().as_user(user).delete("/api/v1/subscriptions/me").json()["data"]["status"] == "cancelled"

    shop.drain()

    row = fresh(row)
    assert (row.status, invoices(row), credit(user)) == ("cancelled", ["paid", "void"], 4)
    assert ledger()["unapplied_payments"] == -5
    assert len(periods(row)) == 1


def test_a_resume_without_a_method_asks_for_the_payment(shop, user, paused):
    row = paused()
    give_nothing_but(shop, user, "0.00")
    shop.no_card(row)
    shop.at(TWENTIETH)

    body = shop.post(row, "resume").json()["data"]

    assert (body["status"], body["checkout"]["amount"]) == ("past_due", 9.0)
    shop.pay(row.checkouts.get(purpose="invoice"))
    assert (fresh(row).status, fresh(row).end_date) == ("active", END)


def test_a_pause_closes_what_was_planned(shop, user):
    subscription = shop.buy(user, plan("58.00"))
    assert shop.change(subscription, plan("29.00")).status_code == 200

    assert shop.post(subscription, "pause").status_code == 200

    assert subscription.changes.get().status == "cancelled"


def test_who_is_paused_may_cancel_and_keeps_his_credit(shop, user, paused):
    row = paused(resumes_at=TWENTIETH.isoformat())

    assert Api().as_user(user).delete("/api/v1/subscriptions/me").json()["data"]["status"] == "cancelled"

    row = fresh(row)
    assert (row.status, row.resumes_at, row.next_action_at, credit(user)) == ("cancelled", None, None, 19)
    with nothing_changes():
        shop.run(TWENTIETH)
        refused(shop.post(row, "resume"), 409, "INVALID_TRANSITION")
    # and the credit pays for another
    assert shop.subscribe(user, plan("19.00")).json()["data"]["subscription"]["status"] == "active"


def test_a_pause_of_what_was_upgraded_gives_both_payments(shop, user):
    subscription = shop.buy(user, plan())
    shop.at(TENTH)
    assert shop.change(subscription, plan("58.00")).status_code == 200
    shop.at(TWENTIETH)

    assert shop.post(subscription, "pause").status_code == 200

    assert credit(user) == 18  # nine days of Pro
    assert ledger() == {"provider_clearing": 48, "customer_credit": -18, "revenue": -30}


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "resumes_at",
    [START - DAY, START + 367 * DAY, "soon"],
    ids=["past", "more than a year", "no date"],
)
def test_dates_that_make_no_sense(shop, user, resumes_at):
    subscription = shop.buy(user, plan())
    wish = resumes_at.isoformat() if isinstance(resumes_at, datetime) else resumes_at
    with nothing_changes():
        assert list(refused(shop.post(subscription, "pause", resumes_at=wish), 400, "VALIDATION_ERROR")) == [
            "resumes_at"
        ]
        assert list(refused(shop.post(subscription, "pause", until=wish), 400, "VALIDATION_ERROR")) == ["until"]


def refuses_to_pause(shop, subscription, code: str = "INVALID_TRANSITION"):
    with nothing_changes():
        return refused(shop.post(subscription, "pause"), 409, code)


def test_what_cannot_pause(shop, user, other_user):
    shop.subscribe(other_user, plan("0.00"))
    refuses_to_pause(shop, other_user.subscriptions.get())
    checkout = shop.checkout(user, plan(trial_days=7))
    refuses_to_pause(shop, checkout.subscription)
    shop.pay(checkout, card="decline")
    refuses_to_pause(shop, checkout.subscription)  # on trial
    shop.run(START + 7 * DAY)
    assert fresh(checkout.subscription).status == "past_due"
    refuses_to_pause(shop, checkout.subscription)


def test_what_is_paused_cancelled_or_due_cannot_pause(shop, user, other_user, paused):
    row = paused()
    refuses_to_pause(shop, row)
    cancelled = shop.buy(other_user, plan())
    Api().as_user(other_user).delete("/api/v1/subscriptions/me")
    refuses_to_pause(shop, cancelled)
    Api().as_user(other_user).put(f"/api/v1/subscriptions/{cancelled.pk}", {"auto_renew": True})
    shop.at(cancelled.end_date)
    refuses_to_pause(shop, cancelled)


def test_what_the_provider_renews_is_paused_there(shop, user):
    checkout = shop.checkout(user, plan(), provider="lava")
    shop.pay(checkout)
    assert list(refuses_to_pause(shop, checkout.subscription, "PROVIDER_MANAGED")) == ["manage_url"]


def test_a_paused_subscription_is_still_the_one(shop, user, paused):
    """It blocks another of its family, and is shown as the caller's."""
    row = paused()
    with nothing_changes():
        refused(shop.subscribe(user, plan()), 409, "ALREADY_SUBSCRIBED")
    body = Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]
    assert (body["id"], body["status"], body["access_until"]) == (str(row.pk), "paused", None)
    assert invoices(row) == ["paid"]
    give_credit(user, "1.00")
    assert credit(user) == 20


def test_what_does_not_renew_any_more_ends_on_its_date_uncharged(shop, user, paused):
    """A card that declines would else be charged by every sweep: there is no grace to fall into."""
    row = paused(card="decline", resumes_at=TWENTIETH.isoformat())
    give_nothing_but(shop, user, "0.00")
    client, url = Api().as_user(user), f"/api/v1/subscriptions/{row.pk}"
    assert client.put(url, {"auto_renew": False}).status_code == 200
    refused(shop.post(row, "resume"), 409, "INVALID_TRANSITION")

    for minutes in range(4):
        shop.run(TWENTIETH + timedelta(minutes=minutes))

    assert charges(row) == [("completed", 1, "")]
    assert steps(row)[-1] == ("expired", "not_renewed")


def test_a_resume_declined_after_its_renewal_was_turned_off_leaves_no_invoice(shop, user, paused):
    row = paused(card="timeout")
    give_nothing_but(shop, user, "0.00")
    shop.at(TWENTIETH)
    assert shop.post(row, "resume").status_code == 200
    charge = row.transactions.get(status="pending")
    client, url = Api().as_user(user), f"/api/v1/subscriptions/{row.pk}"
    assert client.put(url, {"auto_renew": False}).status_code == 200

    charge_apply(
        transaction_id=charge.pk, result=PaymentResult(Outcome.DECLINED, None, Decline("declined", True)), at=TWENTIETH
    )

    assert (fresh(row).status, invoices(row)) == ("paused", ["paid", "void"])
    assert periods(row) == [(START, row.paused_at)]
    # on again, it is billed from the moment of the next resume
    shop.card(row, "ok")
    assert client.put(url, {"auto_renew": True}).status_code == 200
    shop.at(TWENTIETH + 3 * DAY)
    assert shop.post(row, "resume").status_code == 200
    assert row.invoices.latest("pk").total == 6
