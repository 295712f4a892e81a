"""Trials: announced once before they end, with a method and without one; and purchases that begin without a checkout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payflow.core.models import OutboxEvent
from providers.sandbox.models import SandboxCheckout, SandboxPayment
from subscriptions.access import has_access
from subscriptions.models import Checkout, Subscription
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

WEEK = START + 7 * DAY
HOUR = timedelta(hours=1)


def notices() -> list[dict[str, object]]:
    return [event.payload for event in OutboxEvent.objects.filter(type="subscription.trial_ending").order_by("pk")]


def began(answer) -> Subscription:
    """The subscription of an answer that asks for no payment."""
    data = answer.json()["data"]
    assert (answer.status_code, data["checkout_url"], data["checkout"]) == (201, None, None)
    return Subscription.objects.get(pk=data["subscription"]["id"])


def open_trial(shop, user, *, days: int = 7, **body) -> Subscription:
    """A trial that needs no payment method."""
    return began(shop.subscribe(user, PlanFactory(trial_days=days, trial_needs_method=False), **body))


# --- the notice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [True, False], ids=["with a method", "without"])
def test_the_end_of_a_trial_is_announced_once_and_in_time(shop, user, method):
    if method:
        checkout = shop.checkout(user, PlanFactory(trial_days=7))
        shop.pay(checkout)
        trial = fresh(checkout.subscription)
    else:
        trial = open_trial(shop, user)
    ends = trial.trial_ends_at
    assert trial.next_action_at == ends - 3 * DAY
    shop.run(ends - 3 * DAY - HOUR)
    assert notices() == []

    for moment in (ends - 3 * DAY, ends - 2 * DAY, ends - HOUR):
        shop.run(moment)

    assert notices() == [{"trial_ends_at": ends.isoformat(), "will_be_charged": method}]
    assert (fresh(trial).status, fresh(trial).next_action_at) == ("trial", ends)
    shop.run(ends)
    assert len(notices()) == 1
    assert fresh(trial).status == ("active" if method else "expired")


def test_a_trial_shorter_than_the_notice_is_announced_where_it_begins(shop, user):
    trial = open_trial(shop, user, days=2)
    assert trial.next_action_at == trial.start_date

    shop.run(trial.start_date + HOUR)

    assert len(notices()) == 1
    assert fresh(trial).next_action_at == trial.trial_ends_at


def test_no_notice_comes_too_late_after_our_own_downtime(shop, user):
    trial = open_trial(shop, user)

    shop.run(WEEK + 2 * DAY)

    assert (notices(), fresh(trial).status) == ([], "expired")


@pytest.mark.parametrize("why", ["switched off", "cancelled"])
def test_what_needs_no_notice_gets_none(shop, user, settings, why):
    if why == "switched off":
        settings.TRIAL_NOTICE_DAYS = 0
    trial = open_trial(shop, user)
    if why == "cancelled":
        assert Api().as_user(user).delete("/api/v1/subscriptions/me").status_code == 200

    shop.run(WEEK - DAY)

    assert (notices(), fresh(trial).next_action_at) == ([], trial.trial_ends_at)


# --- without a method ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["sandbox", "lava"])
def test_a_trial_without_a_method_begins_at_once_and_ends_without_a_charge(shop, user, provider):
    """Nor with grace, whoever would have been the provider."""
    trial = open_trial(shop, user, provider=provider)

    assert (trial.status, trial.payment_method, Checkout.objects.count()) == ("trial", None, 0)
    assert has_access(trial, WEEK - HOUR)
    ends = trial.trial_ends_at
    shop.run(ends - HOUR)
    shop.run(ends)

    trial = fresh(trial)
    assert (steps(trial)[-1], trial.next_action_at) == (("expired", "trial_ended"), None)
    assert not has_access(trial, ends)
    assert (charges(trial), invoices(trial), ledger()) == ([], [], {})
    assert (SandboxCheckout.objects.count(), SandboxPayment.objects.count()) == (0, 0)
    # and there is no second one
    assert shop.checkout(user, PlanFactory(trial_days=7, trial_needs_method=False)).trial_days == 0


def test_a_trial_without_a_method_is_replaced_by_what_is_paid(shop, user):
    trial = open_trial(shop, user)
    shop.at(START + 2 * DAY)
    checkout = shop.checkout(user, PlanFactory(price=Decimal("20.00")))
    assert (fresh(trial).status, checkout.trial_days) == ("trial", 0)

    shop.pay(checkout)

    bought, trial = fresh(checkout.subscription), fresh(trial)
    assert (bought.status, steps(trial)[-1]) == ("active", ("expired", "replaced"))
    assert periods(trial) == [(trial.start_date, trial.end_date)]
    assert trial.end_date == bought.start_date
    assert ledger() == {"provider_clearing": 20, "revenue": -20}
    with nothing_changes():
        shop.run(WEEK + HOUR)


def test_a_trial_with_a_method_is_not_replaced(shop, user):
    checkout = shop.checkout(user, PlanFactory(trial_days=7))
    shop.pay(checkout)
    with nothing_changes():
        refused(shop.subscribe(user, PlanFactory()), 409, "ALREADY_SUBSCRIBED")


def test_a_method_given_during_the_trial_is_charged_at_its_end(shop, user):
    trial = open_trial(shop, user)
    body = {"payment_method_id": str(shop.second_card(user).pk)}
    assert Api().as_user(user).put(f"/api/v1/subscriptions/{trial.pk}", body).status_code == 200

    shop.run(trial.trial_ends_at - DAY)
    assert notices()[0]["will_be_charged"] is True
    shop.run(trial.trial_ends_at)

    assert (fresh(trial).status, ledger()) == ("active", {"provider_clearing": 10, "revenue": -10})


# --- nothing to pay --------------------------------------------------------------------------------------------------


def test_a_purchase_that_credit_pays_begins_without_a_checkout(shop, user):
    give_credit(user, "15.00")

    row = began(shop.subscribe(user, PlanFactory()))

    assert (row.status, row.payment_method, steps(row)) == (
        "active",
        None,
        [("pending", "subscribed"), ("active", "paid")],
    )
    assert periods(row) == [(row.start_date, row.end_date)]
    assert (row.anchor, row.next_action_at) == (row.start_date, row.end_date)
    invoice = row.invoices.get()
    assert (invoice.status, invoice.credit, invoice.total, invoice.number) == ("paid", 10, 0, "INV-2040-000001")
    assert (invoice.period_start, invoice.period_end) == (row.start_date, row.end_date)
    assert (charges(row), credit(user)) == ([], 5)
    assert ledger() == {"discounts": 15, "customer_credit": -5, "revenue": -10}
    # when the next month is due, credit pays its part and a page asks for the rest
    shop.run(row.end_date)
    row = fresh(row)
    assert (row.status, row.checkouts.get().amount, credit(user)) == ("past_due", 5, 0)
    shop.pay(row.checkouts.get())
    assert fresh(row).status == "active"


def test_what_credit_pays_replaces_a_free_subscription(shop, user):
    free = began(shop.subscribe(user, PlanFactory(price=Decimal(0))))
    give_credit(user, "10.00")

    assert began(shop.subscribe(user, PlanFactory())).status == "active"

    assert steps(free)[-1] == ("expired", "replaced")


def test_credit_that_has_expired_pays_nothing(shop, user):
    give_credit(user, "10.00", expires_at=START + DAY)
    shop.at(START + DAY)

    assert shop.checkout(user, PlanFactory()).amount == 10


def test_what_a_checkout_had_reserved_comes_back_with_it(shop, user):
    give_credit(user, "4.00")
    checkout = shop.checkout(user, PlanFactory())
    assert (checkout.amount, credit(user)) == (6, 0)

    shop.run(datetime(2040, 2, 2, 10, tzinfo=UTC))

    assert (fresh(checkout).status, credit(user)) == ("expired", 4)
    assert ledger() == {"discounts": 4, "customer_credit": -4}
