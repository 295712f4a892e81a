"""What must never happen is refused by the database, whatever code asks for it. One rule, one test, raw SQL."""

from __future__ import annotations

import pytest
from django.db import DataError, transaction

from plans.models import RESERVED_CODES
from tests.schema.world import AT, insert, refused, update, value

pytestmark = pytest.mark.django_db

LIVE = ["trial", "active", "past_due", "suspended", "paused"]


# --- plans -----------------------------------------------------------------------------------------------------------


def test_a_negative_price():
    with refused("plans_price_not_negative"):
        insert("plans", price="-0.01")


@pytest.mark.parametrize(
    ("price", "currency"),
    [("1.001", "USD"), ("1.5", "JPY"), ("1.0001", "KWD"), ("1", "XXX"), ("1", "usd"), ("NaN", "USD")],
)
def test_a_price_that_does_not_fit_its_currency(price, currency):
    with refused("plans_price_fits_currency"):
        insert("plans", price=price, currency=currency)


@pytest.mark.parametrize(("price", "currency"), [("1.01", "USD"), ("1", "JPY"), ("1.001", "KWD"), ("0", "EUR")])
def test_a_price_that_fits(price, currency):
    insert("plans", price=price, currency=currency)


def test_an_endless_price():
    with pytest.raises(DataError), transaction.atomic():
        insert("plans", price="Infinity")


@pytest.mark.parametrize("code", sorted(RESERVED_CODES))
def test_a_reserved_plan_code(code):
    with refused("plans_code_not_reserved"):
        insert("plans", code=code)


def test_a_plan_code_twice():
    insert("plans", code="premium")
    with refused("plans_code_key"):
        insert("plans", code="premium")


def test_a_cycle_that_does_not_exist():
    with refused("plans_billing_cycle"):
        insert("plans", billing_cycle="hourly")


def test_an_interval_of_nothing():
    with refused("plans_interval_positive"):
        insert("plans", billing_interval=0)


def test_two_prices_of_a_plan_in_one_currency():
    plan = insert("plans")
    insert("plan_prices", plan_id=plan)
    with refused("uniq_plan_prices_currency"):
        insert("plan_prices", plan_id=plan)


# --- users -----------------------------------------------------------------------------------------------------------


def test_an_address_twice_in_other_letters():
    insert("users", email="Ann@example.com")
    with refused("uniq_users_email"):
        insert("users", email="ann@EXAMPLE.com")


# --- subscriptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", LIVE)
@pytest.mark.parametrize("second", ["active", "trial"])
def test_a_second_live_subscription_of_a_family(first, second):
    user = insert("users")
    insert("subscriptions", user_id=user, status=first)
    with refused("uniq_subscriptions_live"):
        insert("subscriptions", user_id=user, status=second)


def test_a_pending_one_that_becomes_the_second_live_one():
    user = insert("users")
    insert("subscriptions", user_id=user)
    pending = insert("subscriptions", user_id=user, status="pending")
    with refused("uniq_subscriptions_live"):
        update("subscriptions", pending, status="active")


def test_a_second_pending_subscription_of_a_family():
    user = insert("users")
    insert("subscriptions", user_id=user, status="pending")
    with refused("uniq_subscriptions_pending"):
        insert("subscriptions", user_id=user, status="pending")


def test_one_live_and_one_pending_and_any_number_of_ended_ones_are_fine():
    user = insert("users")
    live = insert("subscriptions", user_id=user)
    insert("subscriptions", user_id=user, status="pending")
    insert("subscriptions", user_id=user, family="addons")
    insert("subscriptions", user_id=user, overlaps_id=live)
    for status in ("cancelled", "expired") * 2:
        insert("subscriptions", user_id=user, status=status)


@pytest.mark.parametrize("status", ["pending", "trial", "active", "past_due"])
def test_a_subscription_that_nobody_would_look_at_again(status):
    with refused("subscriptions_next_action_known"):
        insert("subscriptions", status=status, next_action_at=None)


@pytest.mark.parametrize("status", ["suspended", "paused", "cancelled", "expired"])
def test_what_waits_for_nothing_needs_no_moment(status):
    insert("subscriptions", status=status, next_action_at=None)


def test_a_free_one_runs_for_ever():
    insert("subscriptions", end_date=None, next_action_at=None, amount=0)


def test_the_moment_of_a_running_one_cannot_be_taken_away():
    row = insert("subscriptions")
    with refused("subscriptions_next_action_known"):
        update("subscriptions", row, next_action_at=None)


def test_an_end_before_the_start():
    with refused("subscriptions_end_after_start"):
        insert("subscriptions", end_date="2026-01-31T09:59Z")


def test_an_unknown_status():
    with refused("subscriptions_status"):
        insert("subscriptions", status="frozen")


@pytest.mark.parametrize(
    ("amount", "rule"), [("-1", "not_negative"), ("1.001", "fits_currency"), ("NaN", "fits_currency")]
)
def test_an_amount_of_a_subscription(amount, rule):
    with refused(f"subscriptions_amount_{rule}"):
        insert("subscriptions", amount=amount)


def test_a_providers_name_for_two_subscriptions():
    insert("subscriptions", provider="sandbox", provider_sub_id="sub_1")
    insert("subscriptions", provider="other", provider_sub_id="sub_1")
    with refused("uniq_subscriptions_provider_sub_id"):
        insert("subscriptions", provider="sandbox", provider_sub_id="sub_1")


def test_a_providers_old_name_for_two_subscriptions():
    insert("provider_links", provider_sub_id="sub_1")
    with refused("uniq_provider_links_ref"):
        insert("provider_links", provider_sub_id="sub_1")


def test_a_second_trial():
    user = insert("users")
    insert("trial_redemptions", user_id=user)
    insert("trial_redemptions", user_id=user, family="addons")
    with refused("uniq_trial_redemptions"):
        insert("trial_redemptions", user_id=user)


def test_an_event_number_twice():
    subscription = insert("subscriptions")
    insert("subscription_events", subscription_id=subscription)
    with refused("uniq_subscription_events_sequence"):
        insert("subscription_events", subscription_id=subscription)


def test_a_second_open_checkout_of_a_purpose():
    subscription = insert("subscriptions")
    insert("checkouts", subscription_id=subscription)
    insert("checkouts", subscription_id=subscription, purpose="invoice")
    insert("checkouts", subscription_id=subscription, status="expired")
    for status in ("open", "unknown"):
        with refused("uniq_checkouts_open"):
            insert("checkouts", subscription_id=subscription, status=status)


# --- billing periods -------------------------------------------------------------------------------------------------

FEBRUARY = {"start": "2026-02-01T00:00Z", "end": "2026-03-01T00:00Z"}


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-02-01T00:00Z", "2026-03-01T00:00Z"),
        ("2026-02-10T00:00Z", "2026-02-11T00:00Z"),
        ("2026-01-01T00:00Z", "2026-04-01T00:00Z"),
        ("2026-02-28T23:59:59.999999Z", "2026-04-01T00:00Z"),
        ("2026-01-01T00:00Z", "2026-02-01T00:00:00.000001Z"),
        ("2026-03-01T00:30+01:00", "2026-04-01T00:00Z"),
    ],
)
def test_a_period_billed_twice(start, end):
    subscription = insert("subscriptions")
    insert("billing_periods", subscription_id=subscription, **FEBRUARY)
    with refused("billing_periods_no_overlap"):
        insert("billing_periods", subscription_id=subscription, start=start, end=end)


def test_periods_that_touch_are_neighbours():
    subscription = insert("subscriptions")
    insert("billing_periods", subscription_id=subscription, **FEBRUARY)
    insert("billing_periods", subscription_id=subscription, start="2026-01-01T00:00Z", end=FEBRUARY["start"])
    insert("billing_periods", subscription_id=subscription, start=FEBRUARY["end"], end="2026-04-01T00:00Z")


def test_periods_of_two_subscriptions_do_not_meet():
    insert("billing_periods", **FEBRUARY)
    insert("billing_periods", **FEBRUARY)


def test_what_was_superseded_is_not_in_the_way_and_cannot_come_back():
    subscription = insert("subscriptions")
    old = insert("billing_periods", subscription_id=subscription, **FEBRUARY)
    update("billing_periods", old, superseded_at="2026-02-10T00:00Z")
    insert("billing_periods", subscription_id=subscription, **FEBRUARY)
    insert("billing_periods", subscription_id=subscription, superseded_at="2026-02-10T00:00Z", **FEBRUARY)
    with refused("billing_periods_no_overlap"):
        update("billing_periods", old, superseded_at=None)


@pytest.mark.parametrize("end", ["2026-02-01T00:00Z", "2026-01-31T00:00Z"])
def test_a_period_without_time(end):
    with refused("billing_periods_half_open"):
        insert("billing_periods", start="2026-02-01T00:00Z", end=end)


# --- webhooks, usage -------------------------------------------------------------------------------------------------


def test_a_delivery_twice_but_a_forged_one_takes_no_key():
    insert("webhook_events", event_id="evt_1", status="rejected")
    insert("webhook_events", event_id="evt_1", status="rejected")
    insert("webhook_events", event_id="evt_1")
    insert("webhook_events", event_id="evt_1", provider="other")
    for status in ("received", "processed", "review"):
        with refused("uniq_webhook_events_delivery"):
            insert("webhook_events", event_id="evt_1", status=status)


@pytest.mark.parametrize(
    ("status", "processed"),
    [
        ("received", False),
        ("processed", True),
        ("ignored", True),
        ("failed", False),
        ("review", False),
        ("rejected", False),
    ],
)
def test_processed_follows_the_status(status, processed):
    assert value("webhook_events", insert("webhook_events", status=status), "processed") is processed


def test_an_event_of_usage_twice():
    user = insert("users")
    insert("usage_events", user_id=user, event_id="e1")
    insert("usage_events", event_id="e1")
    with refused("usage_events_pkey"):
        insert("usage_events", user_id=user, event_id="e1")


@pytest.mark.parametrize("quantity", [0, -1])
def test_a_use_of_nothing(quantity):
    # The check is the partition's: its name carries the parent's column.
    with refused("usage_logs_quantity_check"):
        insert("usage_logs", quantity=quantity)


def test_a_window_of_usage_that_does_not_exist():
    with refused("usage_counters_window"):
        insert("usage_counters", window="year")


# --- metering ---------------------------------------------------------------------------------------------------------


def test_no_more_is_billed_than_was_used():
    meter = insert("usage_meters", used=5, billed=5)
    with refused("usage_meters_billed_is_used"):
        update("usage_meters", meter, billed=6)
    with refused("usage_meters_billed_is_used"):
        update("usage_meters", meter, used=4)


def test_one_meter_for_each_cycle_and_price_also_without_a_subscription():
    user, price = insert("users"), insert("action_prices")
    insert("usage_meters", user_id=user, price_id=price)
    with refused("uniq_usage_meters_period"):
        insert("usage_meters", user_id=user, price_id=price)


def test_one_present_price_for_each_action_and_currency():
    plan = insert("plans")
    insert("action_prices", plan_id=plan, retired_at=AT)
    insert("action_prices", plan_id=plan)
    with refused("uniq_action_prices_present"):
        insert("action_prices", plan_id=plan)


def test_the_terms_of_a_price_stay():
    price = insert("action_prices")
    with refused("action_prices_fixed"):
        update("action_prices", price, unit_amount="2")
    update("action_prices", price, retired_at="2026-02-28T10:00Z")
