"""Cancelling, taking it back, and the three fields that a subscriber may change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from payflow.core import clock
from subscriptions.access import has_access
from subscriptions.models import Status, Subscription
from tests.factories import PlanFactory
from tests.flows import DAY, fresh, invoices, ledger, nothing_changes, paid, periods, refused, steps

ME = "/api/v1/subscriptions/me"


def url(subscription: Subscription, what: str = "") -> str:
    return f"/api/v1/subscriptions/{subscription.pk}{what}"


@pytest.mark.parametrize("undo", ["resume", "put"])
def test_a_cancellation_keeps_the_paid_time_and_can_be_taken_back(api, user, undo):
    subscription, _ = paid(user)
    client = api.as_user(user)

    body = client.delete(ME).json()["data"]

    row = fresh(subscription)
    assert (body["status"], row.status, row.end_date) == ("active", "active", subscription.end_date)
    assert row.cancelled_at is not None
    assert body["access_until"] == row.end_date.isoformat().replace("+00:00", "Z")  # no slack: it doesn't renew
    # twice is once
    assert client.delete(url(row)).status_code == 200
    assert fresh(row).cancelled_at == row.cancelled_at
    # and it is taken back
    back = client.post(url(row, "/resume")) if undo == "resume" else client.put(url(row), {"auto_renew": True})
    assert (back.status_code, back.json()["data"]["cancelled_at"]) == (200, None)
    row = fresh(row)
    assert (row.cancelled_at, row.auto_renew, row.next_action_at) == (None, True, subscription.end_date)
    with nothing_changes():
        refused(client.post(url(row, "/resume")), 409, "INVALID_TRANSITION")
    assert steps(row) == [("pending", "subscribed"), ("active", "paid")]


def test_a_cancellation_cannot_be_taken_back_after_the_end(api, user):
    subscription, _ = paid(user, at=clock.now() - timedelta(days=40))
    client = api.as_user(user)
    assert client.delete(ME).status_code == 200

    with nothing_changes():
        refused(client.post(url(subscription, "/resume")), 409, "INVALID_TRANSITION")
        refused(client.put(url(subscription), {"auto_renew": True}), 409, "INVALID_TRANSITION")


def test_cancelling_now_truncates_the_period_and_gives_nothing_back(api, user):
    start = clock.now() - 10 * DAY
    subscription, _ = paid(user, at=start)
    before = clock.now()

    body = api.as_user(user).delete(f"{ME}?when=now").json()["data"]

    row = fresh(subscription)
    assert (body["status"], row.next_action_at) == ("cancelled", None)
    assert before <= row.cancelled_at == row.end_date <= clock.now()
    assert periods(row) == [(start, row.end_date)]
    old = row.periods.get(superseded_at__isnull=False)
    assert (old.end, old.superseded_at) == (subscription.end_date, row.end_date)
    assert (invoices(row), ledger()) == (["paid"], {"provider_clearing": 10, "revenue": -10})
    assert not has_access(row, row.end_date)
    client = api.as_user(user)
    with nothing_changes():
        refused(client.delete(url(row)), 409, "INVALID_TRANSITION")
        refused(client.delete(ME), 404, "NOT_FOUND")
        refused(client.put(url(row), {"auto_renew": True}), 409, "INVALID_TRANSITION")
        refused(client.post(url(row, "/retry-payment")), 409, "INVALID_TRANSITION")


def test_a_wish_that_nobody_knows_is_refused(api, user):
    paid(user)
    with nothing_changes():
        details = refused(api.as_user(user).delete(f"{ME}?when=tomorrow"), 400, "VALIDATION_ERROR")
    assert list(details) == ["when"]


def test_a_free_subscription_ends_at_once(api, user):
    client = api.as_user(user)
    client.post("/api/v1/subscriptions/", {"plan_id": PlanFactory(price=Decimal(0)).code})

    assert client.delete(ME).json()["data"]["status"] == "cancelled"

    row = Subscription.objects.get()
    assert (row.end_date, row.next_action_at) == (row.cancelled_at, None)
    refused(client.get(ME), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"plan_id": "better"}, ["plan_id"]),
        ({"status": "active", "end_date": "2099-01-01T00:00:00Z"}, ["end_date", "status"]),
        ({"auto_renew": False, "amount": 0}, ["amount"]),
        ({"auto_renew": "perhaps"}, ["auto_renew"]),
        ({"auto_renew": None}, ["auto_renew"]),
        ({"timezone": "Mars/Olympus"}, ["timezone"]),
        ({"timezone": "../../etc/passwd"}, ["timezone"]),
        ({"timezone": "x" * 65}, ["timezone"]),
        ({"payment_method_id": "visa"}, ["payment_method_id"]),
        ({"payment_method_id": "00000000-0000-4000-8000-000000000000"}, ["payment_method_id"]),
        ({}, ["non_field_errors"]),
    ],
    ids=str,
)
def test_only_three_fields_change_and_only_to_what_exists(api, user, change, fields):
    subscription, _ = paid(user)
    with nothing_changes():
        details = refused(api.as_user(user).put(url(subscription), change), 400, "VALIDATION_ERROR")
    assert sorted(details) == fields


def test_the_three_fields_change_together(api, user, other_user):
    subscription, _ = paid(user)
    theirs, _ = paid(other_user)
    client = api.as_user(user)
    with nothing_changes():
        body = {"payment_method_id": str(theirs.payment_method_id)}
        assert list(refused(client.put(url(subscription), body), 400, "VALIDATION_ERROR")) == ["payment_method_id"]
        refused(client.patch(url(subscription), {"auto_renew": False}), 405, "METHOD_NOT_ALLOWED")

    wish = {"auto_renew": False, "payment_method_id": None, "timezone": "Asia/Tokyo"}
    body = client.put(url(subscription), wish).json()["data"]

    assert {name: body[name] for name in wish} == wish
    row = fresh(subscription)
    assert (row.auto_renew, row.payment_method, row.timezone) == (False, None, "Asia/Tokyo")
    assert (row.status, row.end_date, row.cancelled_at) == ("active", subscription.end_date, None)
    # and back again it renews
    assert client.put(url(row), {"auto_renew": True}).json()["data"]["auto_renew"] is True
    assert fresh(row).next_action_at == subscription.end_date


def test_a_pending_subscription_is_cancelled_at_once_and_changes_nothing_else(shop, user, api):
    checkout = shop.checkout(user, PlanFactory())
    client = api.as_user(user)
    with nothing_changes():
        refused(client.put(url(checkout.subscription), {"auto_renew": False}), 409, "INVALID_TRANSITION")
        refused(client.post(url(checkout.subscription, "/resume")), 409, "INVALID_TRANSITION")
        refused(client.post(url(checkout.subscription, "/retry-payment")), 409, "INVALID_TRANSITION")

    assert client.delete(url(checkout.subscription)).status_code == 200

    row = fresh(checkout.subscription)
    assert (row.status, fresh(checkout).status, invoices(row)) == (Status.CANCELLED, "expired", ["void"])
    assert row.end_date == row.start_date < datetime(2040, 2, 1, tzinfo=UTC)
    assert ledger() == {}
