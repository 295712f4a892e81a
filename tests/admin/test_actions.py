"""Confirmed actions: asked first, done by the service, written in the audit, for the roles that may."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core.admin_actions import MAX_ROWS
from payflow.core.models import AuditEntry
from subscriptions.models import Status, Subscription
from subscriptions.services.cancel import subscription_cancel
from tests.admin.world import EVIL, customer, inbound
from webhooks.models import InboundEvent

SUBSCRIPTIONS = "/admin/subscriptions/subscription/"
DELIVERIES = "/admin/webhooks/inboundevent/"
REQUEST_ID = "0198c0de-0000-7000-8000-000000000001"


def form(action: str, *rows, **fields):
    return {"action": action, "_selected_action": [str(row.pk) for row in rows], **fields}


def confirmed(action: str, *rows, **fields):
    return form(action, *rows, confirmed="yes", request_id=REQUEST_ID, **fields)


def said(response) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


@pytest.fixture
def subscription(db) -> Subscription:
    return customer().subscription


def cancel_entries():
    return list(AuditEntry.objects.filter(action__startswith="subscription.").values_list("action", "actor"))


@pytest.mark.parametrize("ask", ["list", "page"])
def test_cancelling_at_the_period_end_asks_first(signed_in, subscription, ask):
    # Given a support agent before an active subscription
    support = signed_in("support")

    # When the action is chosen on the list, or the button pressed on the row's page
    if ask == "list":
        page = support.post(SUBSCRIPTIONS, form("cancel_at_period_end", subscription))
    else:
        page = support.get(f"{SUBSCRIPTIONS}{subscription.pk}/cancel_at_period_end_this/")

    # Then a page says what will happen, and nothing has
    assert page.status_code == 200
    text = page.content.decode()
    assert "keeps access until" in text
    assert "csrfmiddlewaretoken" in text
    assert EVIL not in text
    subscription.refresh_from_db()
    assert subscription.cancelled_at is None
    assert cancel_entries() == []

    # And confirming it cancels, audited under the agent's name
    answer = support.post(SUBSCRIPTIONS, confirmed("cancel_at_period_end", subscription))
    subscription.refresh_from_db()
    assert subscription.cancelled_at is not None
    assert subscription.status == Status.ACTIVE
    assert cancel_entries() == [("subscription.cancel", f"user:{support.user.pk}")]
    assert "ends" in said(answer)[0]
    assert EVIL not in support.get(SUBSCRIPTIONS).content.decode()


def test_cancelling_now_ends_it_and_returns_to_its_page(signed_in, subscription):
    support = signed_in("support")
    answer = support.post(SUBSCRIPTIONS, confirmed("cancel_now", subscription, from_page="yes"))
    assert answer.url == f"{SUBSCRIPTIONS}{subscription.pk}/change/"
    subscription.refresh_from_db()
    assert subscription.status == Status.CANCELLED


def test_a_cancellation_is_taken_back(signed_in, subscription):
    subscription_cancel(
        subscription_id=subscription.pk, at_once=False, actor="system", now=subscription.start_date + timedelta(hours=1)
    )
    support = signed_in("support")
    support.post(SUBSCRIPTIONS, confirmed("take_cancellation_back", subscription))
    subscription.refresh_from_db()
    assert subscription.cancelled_at is None
    assert cancel_entries()[-1] == ("subscription.uncancel", f"user:{support.user.pk}")


def test_a_refusal_is_a_message_and_the_other_rows_go_on(signed_in, db):
    ended, active = customer(1).subscription, customer(2).subscription
    subscription_cancel(subscription_id=ended.pk, at_once=True, actor="system", now=ended.start_date)
    answer = signed_in("support").post(SUBSCRIPTIONS, confirmed("cancel_now", ended, active))
    assert answer.status_code == 302
    first, second = said(answer)
    assert "already cancelled" in first
    assert second.endswith("cancelled")
    active.refresh_from_db()
    assert active.status == Status.CANCELLED


def test_a_fault_of_ours_is_a_message_too(signed_in, subscription):
    # Given a database that refuses what the service does
    connection.check_constraints()  # else the deferred ones keep the table from being altered
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE subscriptions ADD CONSTRAINT a_secret CHECK (status <> 'cancelled')")

    answer = signed_in("support").post(SUBSCRIPTIONS, confirmed("cancel_now", subscription))

    assert answer.status_code == 302
    assert "IntegrityError, see the log" in said(answer)[0]
    assert "secret" not in said(answer)[0]
    subscription.refresh_from_db()
    assert subscription.status == Status.ACTIVE


@pytest.mark.django_db(transaction=True)
def test_the_service_is_called_outside_any_transaction(signed_in):
    rows = [customer(number).subscription for number in range(2)]
    support = signed_in("support")

    with CaptureQueriesContext(connection) as queries:
        support.post(SUBSCRIPTIONS, confirmed("cancel_now", *rows))

    # Then the service's own transaction is the outermost: inside another it would be a savepoint
    asked = [query["sql"] for query in queries]
    locks = [n for n, sql in enumerate(asked) if 'FROM "subscriptions"' in sql and "FOR NO KEY UPDATE" in sql]
    assert [asked[n - 1] for n in locks] == ["BEGIN", "BEGIN"]


@pytest.mark.parametrize(
    ("role", "may"),
    [("superuser", True), ("billing-admin", True), ("support", True), ("finance", False), ("viewer", False)],
)
def test_who_may_cancel(signed_in, subscription, role, may):
    operator = signed_in(role)
    button = f"{SUBSCRIPTIONS}{subscription.pk}/cancel_now_this/"
    assert operator.get(button).status_code == (200 if may else 403)
    assert (button in operator.get(f"{SUBSCRIPTIONS}{subscription.pk}/change/").content.decode()) is may
    assert ('value="cancel_now"' in operator.get(SUBSCRIPTIONS).content.decode()) is may
    operator.post(SUBSCRIPTIONS, confirmed("cancel_now", subscription))
    subscription.refresh_from_db()
    assert (subscription.status == Status.CANCELLED) is may


def test_a_customer_is_sent_to_the_login(signed_in, subscription):
    client = signed_in("customer")
    assert client.post(SUBSCRIPTIONS, confirmed("cancel_now", subscription)).status_code == 302
    assert client.get(f"{SUBSCRIPTIONS}{subscription.pk}/cancel_now_this/").url.startswith("/admin/login/")
    subscription.refresh_from_db()
    assert subscription.status == Status.ACTIVE


def test_only_what_makes_sense_is_offered_on_a_rows_page(signed_in, subscription):
    page = signed_in("support").get(f"{SUBSCRIPTIONS}{subscription.pk}/change/").content.decode()
    assert "cancel_now_this" in page
    assert "take_cancellation_back_this" not in page


@pytest.mark.parametrize("key", ["nonsense", "0198c0de-0000-7000-8000-000000000000"])
def test_rows_that_do_not_exist_are_no_error(signed_in, subscription, key):
    support = signed_in("support")
    assert support.get(f"{SUBSCRIPTIONS}{key}/cancel_now_this/").status_code == 302
    body = {"action": "cancel_now", "_selected_action": [key], "confirmed": "yes", "request_id": REQUEST_ID}
    assert support.post(SUBSCRIPTIONS, body).status_code == 302
    subscription.refresh_from_db()
    assert subscription.status == Status.ACTIVE


def test_more_rows_than_a_request_can_carry_are_refused(signed_in, db):
    events = [inbound(number) for number in range(MAX_ROWS + 1)]
    answer = signed_in("support").post(DELIVERIES, confirmed("replay", *events))
    assert said(answer) == [f"At most {MAX_ROWS} rows at once"]
    assert set(InboundEvent.objects.values_list("status", flat=True)) == {"review"}


def test_a_confirmation_needs_its_csrf_token(signed_in, subscription):
    support = signed_in("support")
    support.handler.enforce_csrf_checks = True
    assert support.post(SUBSCRIPTIONS, confirmed("cancel_now", subscription)).status_code == 403
    subscription.refresh_from_db()
    assert subscription.status == Status.ACTIVE


def test_a_delivery_is_processed_again(signed_in, db):
    event = inbound()
    support = signed_in("support")
    page = support.post(DELIVERIES, form("replay", event))
    assert "processed again by a worker" in page.content.decode()
    event.refresh_from_db()
    assert event.status == "review"
    support.post(DELIVERIES, confirmed("replay", event))
    event.refresh_from_db()
    assert event.status == "received"
    assert AuditEntry.objects.get().action == "webhook.replay"


@pytest.mark.parametrize("role", ["finance", "viewer"])
def test_who_may_not_replay(signed_in, role):
    event = inbound()
    operator = signed_in(role)
    operator.post(DELIVERIES, confirmed("replay", event))
    assert operator.get(f"{DELIVERIES}{event.pk}/replay_this/").status_code == 403
    event.refresh_from_db()
    assert event.status == "review"


def test_a_forged_delivery_is_never_processed(signed_in, db):
    event = inbound(status="rejected")
    answer = signed_in("support").post(DELIVERIES, confirmed("replay", event))
    assert "never processed" in said(answer)[0]
    event.refresh_from_db()
    assert event.status == "rejected"
