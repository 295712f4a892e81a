"""Renewal of stored methods by the sweep: claim, lease, intent, call, result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F

from payments.models import PaymentTransaction
from providers.sandbox.models import SandboxDelivery, SandboxPayment
from subscriptions.models import Checkout
from subscriptions.services.due import BAD_ROW_PAUSE, LEASE
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import (
    DAY,
    START,
    charges,
    fresh,
    invoices,
    ledger,
    nothing_changes,
    periods,
    steps,
)
from tests.providers.sandbox_support import press

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)


def at_sandbox() -> int:
    return SandboxPayment.objects.filter(kind="charge", status="succeeded").count()


def test_a_due_subscription_is_charged_once_and_keeps_its_anchor(shop, user):
    subscription = shop.buy(user)
    shop.at(END - timedelta(seconds=1))
    with nothing_changes():
        assert shop.due() == 0

    # when each end has come
    for end in (END, NEXT, datetime(2040, 4, 30, 10, 0, tzinfo=UTC)):
        shop.run(end)
        assert shop.due() == 0

    # then 31 January is followed by 29 February, 31 March, 30 April, 31 May
    may = datetime(2040, 5, 31, 10, 0, tzinfo=UTC)
    assert periods(subscription) == [
        (START, END),
        (END, NEXT),
        (NEXT, datetime(2040, 4, 30, 10, 0, tzinfo=UTC)),
        (datetime(2040, 4, 30, 10, 0, tzinfo=UTC), may),
    ]
    subscription = fresh(subscription)
    assert (subscription.status, subscription.end_date, subscription.next_action_at) == ("active", may, may)
    assert subscription.anchor == START
    assert charges(subscription) == [("completed", 1, "")] * 4
    assert [invoice.number for invoice in subscription.invoices.order_by("pk")] == [
        f"INV-2040-00000{n}" for n in (1, 2, 3, 4)
    ]
    assert ledger() == {"provider_clearing": 40, "revenue": -40}
    assert at_sandbox() == 3
    assert steps(subscription) == [("pending", "subscribed"), ("active", "paid")]


def test_periods_that_our_own_downtime_missed_are_billed_one_after_another_and_not_all_in_a_day(shop, user):
    subscription = shop.buy(user)
    middle_of_may = shop.at(datetime(2040, 5, 15, tzinfo=UTC))

    swept = [shop.due() for _ in range(5)]

    # the purchase and one more are MAX_CHARGES_PER_DAY
    assert swept == [1, 1, 0, 0, 0]
    assert periods(subscription) == [(START, END), (END, NEXT)]
    subscription = fresh(subscription)
    assert (subscription.review_reason, subscription.next_action_at) == (
        "too many charges in a day",
        middle_of_may + DAY,
    )
    # a day later by real time too
    a_real_day_passes()
    shop.at(middle_of_may + DAY)
    assert [shop.due() for _ in range(4)] == [1, 1, 0, 0]
    assert [start.isoformat()[:10] for start, _ in periods(subscription)] == [
        "2040-01-31",
        "2040-02-29",
        "2040-03-31",
        "2040-04-30",
    ]
    subscription = fresh(subscription)
    assert (subscription.status, subscription.anchor) == ("active", START)
    assert subscription.end_date == datetime(2040, 5, 31, 10, 0, tzinfo=UTC)
    assert ledger() == {"provider_clearing": 40, "revenue": -40}


@pytest.mark.parametrize(
    ("policy", "given", "paid_until", "money"),
    [
        ("bill_current", 2, datetime(2040, 5, 31, 10, 0, tzinfo=UTC), 20),
        ("forgive", 3, datetime(2040, 5, 31, 10, 0, tzinfo=UTC), 10),
    ],
)
def test_missed_periods_are_given_where_the_policy_says_so(shop, user, settings, policy, given, paid_until, money):
    settings.MISSED_PERIODS = policy
    subscription = shop.buy(user)
    shop.at(datetime(2040, 5, 15, tzinfo=UTC))

    for _ in range(4):
        shop.due()

    subscription = fresh(subscription)
    assert (subscription.status, subscription.end_date, subscription.anchor) == ("active", paid_until, START)
    free = subscription.periods.filter(source="forgiven")
    assert [(row.amount, row.invoice_id) for row in free] == [(0, None)] * given
    billed = periods(subscription)
    assert [end for _, end in billed[:-1]] == [start for start, _ in billed[1:]]
    assert (billed[0][0], billed[-1][1]) == (START, paid_until)
    assert ledger() == {"provider_clearing": money, "revenue": -money}


def a_real_day_passes() -> None:
    """What was recorded until now was recorded a day ago."""
    PaymentTransaction.objects.update(recorded_at=F("recorded_at") - DAY)


def test_a_trial_is_charged_where_it_ends(shop, user):
    checkout = shop.checkout(user, PlanFactory(trial_days=7))
    shop.pay(checkout)
    trial = fresh(checkout.subscription)
    assert (trial.status, trial.end_date, trial.trial_ends_at) == ("trial", START + 7 * DAY, START + 7 * DAY)
    assert (invoices(trial), ledger()) == ([], {})

    shop.run(START + 7 * DAY)

    trial = fresh(trial)
    assert (trial.status, trial.end_date) == ("active", datetime(2040, 3, 7, 10, 0, tzinfo=UTC))
    assert ledger() == {"provider_clearing": 10, "revenue": -10}
    # and there is one trial only
    Api().as_user(user).delete("/api/v1/subscriptions/me?when=now")
    assert shop.checkout(user, PlanFactory(trial_days=7)).trial_days == 0


def test_an_unknown_outcome_is_asked_about_and_never_charged_twice(shop, user):
    subscription = shop.buy(user, card="timeout")
    shop.at(END)

    # when the provider takes the charge but does not say so
    assert shop.due() == 1

    row = fresh(subscription)
    assert (row.status, row.end_date, row.next_action_at) == ("active", END, END + LEASE)
    assert charges(row)[1:] == [("pending", 1, "")]
    assert at_sandbox() == 1
    # and its webhook gets lost
    SandboxDelivery.objects.filter(status="pending").delete()

    # then the row is left alone while the lease lasts
    shop.at(END + LEASE - timedelta(seconds=1))
    with nothing_changes():
        assert shop.due() == 0
    # and after it the provider is asked
    shop.run(END + LEASE)
    row = fresh(row)
    assert (row.status, row.end_date, row.current_period_start) == ("active", NEXT, END)
    assert charges(row) == [("completed", 1, "")] * 2
    assert at_sandbox() == 1
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_an_unknown_outcome_is_settled_by_the_webhook_or_the_sweep_of_charges(shop, user):
    by_mail, by_sweep = shop.buy(user, card="timeout"), shop.buy(UserFactory(), card="timeout")
    shop.at(END)
    assert shop.due() == 2
    SandboxDelivery.objects.exclude(body__contains=_key(by_mail)).delete()

    shop.drain()

    assert (fresh(by_mail).end_date, fresh(by_sweep).end_date) == (NEXT, END)
    assert shop.sweep("payments_charges") == 0
    assert shop.sweep("payments_charges", later=timedelta(minutes=3)) == 1
    assert fresh(by_sweep).end_date == NEXT
    assert at_sandbox() == 2
    # and the row whose lease runs out has nothing left to do
    shop.at(END + LEASE)
    with nothing_changes():
        shop.due()
    assert ledger() == {"provider_clearing": 40, "revenue": -40}


def test_a_charge_that_never_left_is_sent_under_its_own_key(shop, user):
    subscription = shop.buy(user)
    shop.unreachable()
    shop.at(END)
    shop.due()
    key = _key(subscription)
    assert (charges(subscription)[1:], at_sandbox()) == ([("pending", 1, "")], 0)

    shop.reachable()
    shop.run(END + LEASE)

    assert _key(subscription) == key
    assert SandboxPayment.objects.get(kind="charge").idempotency_key == key
    assert (fresh(subscription).end_date, invoices(subscription)) == (NEXT, ["paid", "paid"])
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_charge_that_never_left_is_not_sent_for_what_was_cancelled_meanwhile(shop, user):
    subscription = shop.buy(user)
    shop.unreachable()
    shop.at(END)
    shop.due()
    url = f"/api/v1/subscriptions/{subscription.pk}?when=now"
    assert Api().as_user(user).delete(url).status_code == 200
    shop.reachable()

    assert shop.sweep("payments_charges", later=timedelta(minutes=3)) == 1

    assert (at_sandbox(), invoices(subscription)) == (0, ["paid", "void"])
    assert charges(subscription)[1:] == [("failed", 1, "invoice_void")]
    assert shop.sweep("payments_charges", later=timedelta(minutes=6)) == 0
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_a_charge_that_awaits_its_payer_is_settled_late(shop, user):
    subscription = shop.buy(user, card="action")

    shop.run(END)

    row = fresh(subscription)
    assert (row.status, row.grace_until, row.next_action_at) == ("past_due", END + 7 * DAY, END + 2 * DAY)
    charge = PaymentTransaction.objects.get(status="failed")
    assert (charge.failure_code, charge.recoverable) == ("requires_action", True)
    # when the payer confirms on the page that the charge names
    shop.at(END + DAY)
    assert press(charge.metadata["action_url"], outcome="pay").status == 200
    shop.drain()

    # then the failure we had recorded is the payment
    charge, row = fresh(charge), fresh(row)
    assert (charge.status, charge.failure_code, charge.attempt) == ("completed", "", 1)
    assert (row.status, row.end_date, row.grace_until, row.anchor) == ("active", NEXT, None, START)
    assert steps(row)[-2:] == [("past_due", "payment_failed"), ("active", "recovered")]
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_a_late_success_of_an_attempt_that_was_overtaken_is_kept_apart(shop, user):
    subscription = shop.buy(user, card="action")
    shop.run(END)
    first = PaymentTransaction.objects.get(status="failed")
    shop.card(subscription, "ok")
    shop.run(END + 2 * DAY)
    assert charges(subscription)[1:] == [("failed", 1, "requires_action"), ("completed", 2, "")]
    paid_until = fresh(subscription).end_date

    press(first.metadata["action_url"], outcome="pay")
    shop.drain()

    assert (fresh(first).status, fresh(first).invoice, fresh(subscription).end_date) == ("completed", None, paid_until)
    assert ledger() == {"provider_clearing": 30, "revenue": -20, "unapplied_payments": -10}
    assert fresh(first).reason == "its invoice is paid"


def test_without_a_method_a_link_is_made_and_paying_it_recovers(shop, user):
    subscription = shop.buy(user)
    url = f"/api/v1/subscriptions/{subscription.pk}"
    assert Api().as_user(user).put(url, {"payment_method_id": None}).status_code == 200

    shop.run(END)

    row = fresh(subscription)
    assert (row.status, row.grace_until, invoices(row)) == ("past_due", END + 7 * DAY, ["paid", "open"])
    link = Checkout.objects.get(purpose="invoice")
    assert (link.status, link.amount, link.invoice) == ("open", 10, row.invoices.get(status="open"))
    assert Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]["checkout"]["url"] == link.url
    assert ledger() == {"provider_clearing": 10, "receivable": 10, "revenue": -20}
    # when it is paid
    shop.at(END + DAY)
    shop.pay(link)
    row = fresh(row)
    assert (row.status, row.end_date, row.anchor) == ("active", NEXT, START)
    assert row.payment_method is not None
    assert (fresh(link).status, ledger()) == ("paid", {"provider_clearing": 20, "revenue": -20})
    # and from then on the new method is charged
    shop.run(NEXT)
    assert charges(row)[-1] == ("completed", 1, "")
    assert fresh(row).end_date == datetime(2040, 4, 30, 10, 0, tzinfo=UTC)


def test_one_bad_row_does_not_stop_the_batch(shop, user):
    bad, good = shop.buy(user), shop.buy(UserFactory())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions SET timezone = 'Mars/Olympus' WHERE id = %s", [bad.pk])

    shop.run(END)

    assert (fresh(bad).status, fresh(bad).end_date, fresh(bad).next_action_at) == ("active", END, END + BAD_ROW_PAUSE)
    assert (charges(bad), invoices(bad)) == ([("completed", 1, "")], ["paid"])
    assert fresh(good).end_date == NEXT
    # and it is renewed once somebody has mended it
    Api().as_user(user).put(f"/api/v1/subscriptions/{bad.pk}", {"timezone": "Europe/Berlin"})
    shop.run(END + BAD_ROW_PAUSE)
    assert (fresh(bad).status, len(charges(bad))) == ("active", 2)


@pytest.mark.parametrize(
    ("anchor", "before", "after"),
    [
        # Berlin puts its clocks forward on 25 March 2040: its boundary of 15 April lies an hour before London's own.
        (datetime(2040, 3, 15, 10, tzinfo=UTC), "UTC", "Europe/Berlin"),
        (datetime(2040, 3, 15, 10, tzinfo=UTC), "Europe/Berlin", "UTC"),
        # In Tokyo it is 31 January already.
        (datetime(2041, 1, 30, 20, tzinfo=UTC), "UTC", "Asia/Tokyo"),
        (datetime(2041, 1, 30, 20, tzinfo=UTC), "Asia/Tokyo", "UTC"),
    ],
)
def test_who_moves_to_another_zone_is_billed_without_a_gap(shop, user, anchor, before, after):
    user.timezone = before
    user.save()
    shop.at(anchor)
    subscription = shop.buy(user)
    url = f"/api/v1/subscriptions/{subscription.pk}"
    assert Api().as_user(user).put(url, {"timezone": after}).status_code == 200

    for _ in range(3):
        shop.run(fresh(subscription).end_date)

    billed = periods(subscription)
    assert len(billed) == 4
    assert [end for _, end in billed[:-1]] == [start for start, _ in billed[1:]]
    assert all(timedelta(days=27) <= end - start <= timedelta(days=32) for start, end in billed)
    assert fresh(subscription).status == "active"


def test_a_trial_that_was_cancelled_is_never_charged(shop, user):
    checkout = shop.checkout(user, PlanFactory(trial_days=7))
    shop.pay(checkout)
    assert Api().as_user(user).delete("/api/v1/subscriptions/me").json()["data"]["status"] == "trial"

    shop.run(START + 7 * DAY)

    trial = fresh(checkout.subscription)
    assert (trial.status, trial.end_date, charges(trial), invoices(trial)) == ("cancelled", START + 7 * DAY, [], [])
    assert (steps(trial)[-1], at_sandbox(), ledger()) == (("cancelled", "cancelled"), 0, {})


def test_a_trial_whose_card_is_declined_gets_its_grace(shop, user):
    checkout = shop.checkout(user, PlanFactory(trial_days=7))
    shop.pay(checkout, card="decline")
    end = START + 7 * DAY

    shop.run(end)

    trial = fresh(checkout.subscription)
    assert (trial.status, trial.grace_until, trial.next_action_at) == ("past_due", end + 7 * DAY, end + 2 * DAY)
    assert ledger() == {"receivable": 10, "revenue": -10}
    # and the first success pays the period that began where the trial ended
    shop.card(trial, "ok")
    shop.run(end + 2 * DAY)
    assert (fresh(trial).status, fresh(trial).current_period_start) == ("active", end)
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_after_our_own_downtime_retries_do_not_come_all_at_once(shop, user):
    subscription = shop.buy(user, card="decline")
    shop.at(END + 25 * DAY)

    for _ in range(8):
        shop.due()

    assert len(charges(subscription)) <= 1 + 2  # MAX_CHARGES_PER_DAY of the design
    assert fresh(subscription).status == "past_due"


def test_money_of_another_amount_than_was_charged_is_recorded(shop, user):
    """Principle 7: authentic money is always recorded, whatever it fits."""
    subscription = shop.buy(user, card="action")
    shop.run(END)
    key = _key(subscription)

    shop.sandbox_event(
        "payment.succeeded", payment_id="pay_more", idempotency_key=key, amount="12.00", currency="USD", order_ref=""
    )

    assert fresh(subscription).status == "past_due"
    assert ledger()["unapplied_payments"] == -12


def _key(subscription) -> str:
    return PaymentTransaction.objects.filter(subscription=subscription).latest("pk").idempotency_key
