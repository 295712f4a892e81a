"""The state machine: what happens next in every state, and a database that knows the same steps as the code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError, transaction

from payflow.core.errors import InvalidTransition
from payflow.core.models import OutboxEvent
from payments.models import InvoiceStatus, TransactionStatus
from payments.state import INVOICE_TRANSITIONS, TRANSACTION_TRANSITIONS
from subscriptions.models import LIVE, CheckoutStatus, Status, Subscription
from subscriptions.services import due
from subscriptions.state import (
    TRANSITIONS,
    Action,
    grace_end,
    next_action,
    subscription_move,
    subscription_start,
    subscription_update,
    unpaid_period,
)
from tests.schema.world import insert, update
from webhooks.models import InboundStatus

START = datetime(2026, 1, 31, 10, tzinfo=UTC)
END = datetime(2026, 2, 28, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def subscription(status="active", **fields):
    """A monthly one from 31 January, paid until 28 February; not stored."""
    defaults = {
        "status": status,
        "provider": "sandbox",
        "start_date": START,
        "end_date": END,
        "anchor": START,
        "timezone": "UTC",
        "billing_cycle": "monthly",
        "billing_interval": 1,
        "amount": 10,
        "auto_renew": True,
    }
    return Subscription(**(defaults | fields))


def past_due(**fields):
    row = subscription("past_due", **fields)
    row.grace_until = grace_end(row, row.end_date)
    return row


# --- what comes next -------------------------------------------------------------------------------------------------

NEXT = {
    "pending": (subscription("pending"), (Action.EXPIRE_CHECKOUT, START + django_settings.CHECKOUT_LIFETIME)),
    "trial": (subscription("trial"), (Action.RENEW, END)),
    "active": (subscription("active"), (Action.RENEW, END)),
    "past_due": (past_due(), (Action.RETRY, END + 2 * DAY)),
    "suspended": (subscription("suspended", suspended_at=END), (Action.CANCEL_SUSPENDED, END + 30 * DAY)),
    "paused": (subscription("paused"), None),
    "cancelled": (subscription("cancelled"), None),
    "expired": (subscription("expired"), None),
}


@pytest.mark.parametrize("status", Status.values)
def test_every_status_has_its_next_action(status):
    row, expected = NEXT[status]
    assert row.status == status
    assert next_action(row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (subscription(end_date=None, amount=0), None),
        (subscription(auto_renew=False), (Action.END, END)),
        (subscription(cancelled_at=START), (Action.END, END)),
        (subscription("trial", cancelled_at=START), (Action.END, END)),
        (subscription(provider=None), (Action.RENEW, END)),
        (subscription(provider="gone"), (Action.RENEW, END)),
        (subscription("suspended", suspended_at=None), None),
    ],
)
def test_what_else_decides(row, expected):
    assert next_action(row) == expected


def test_who_renews_by_itself_is_waited_for():
    assert next_action(subscription(provider="lava")) == (
        Action.AWAIT_PROVIDER,
        END + django_settings.RENEWAL_SLACK_PROVIDER,
    )
    assert next_action(subscription(provider="lava", auto_renew=False)) == (Action.END, END)


@pytest.mark.parametrize("status", Status.values)
def test_what_must_be_looked_at_again_has_a_moment(status):
    """The check `subscriptions_next_action_known` asks for one in these states."""
    if status in ("pending", "trial", "active", "past_due"):
        assert next_action(NEXT[status][0]) is not None


def test_next_action_reads_no_clock_and_changes_nothing():
    for row, _ in NEXT.values():
        before = {field.attname: getattr(row, field.attname) for field in Subscription._meta.concrete_fields}
        assert next_action(row) == next_action(row)
        assert before == {field.attname: getattr(row, field.attname) for field in Subscription._meta.concrete_fields}


@pytest.mark.parametrize("action", Action)
def test_every_action_is_handled_by_the_sweep(action):
    source = due.__loader__.get_source(due.__name__)
    assert f"Action.{action.name}" in source


# --- grace and dunning -----------------------------------------------------------------------------------------------

PLANS = {
    "monthly": {},
    "yearly": {"billing_cycle": "yearly", "end_date": START.replace(year=2027)},
    "weekly": {"billing_cycle": "weekly", "end_date": START + 7 * DAY},
    "biweekly": {"billing_cycle": "weekly", "billing_interval": 2, "end_date": START + 14 * DAY},
    "daily": {"billing_cycle": "daily", "end_date": START + DAY},
}


@pytest.mark.parametrize(
    ("plan", "days"), [("monthly", 7), ("yearly", 7), ("weekly", 7), ("biweekly", 7), ("daily", 1)]
)
def test_grace_is_seven_days_within_the_unpaid_period(plan, days):
    row = subscription(**PLANS[plan])
    assert grace_end(row, row.end_date) == row.end_date + days * DAY
    assert unpaid_period(row).start == row.end_date


@pytest.mark.parametrize(
    ("plan", "retries"),
    [
        ("monthly", [2, 7, 14, 21]),
        ("yearly", [2, 7, 14, 21]),
        ("biweekly", [2, 7]),  # the 14th is the next period's
        ("weekly", [2]),  # so is the 7th
        ("daily", []),
    ],
)
def test_retries_end_with_the_unpaid_period_and_then_it_is_suspended(plan, retries):
    row = past_due(**PLANS[plan])
    seen = []
    for step in range(10):
        row.dunning_step = step
        kind, at = next_action(row)
        if kind is not Action.RETRY:
            break
        seen.append((at - row.end_date) / DAY)
    assert seen == retries
    assert (kind, at) == (Action.SUSPEND, row.grace_until)


def test_a_short_february_takes_no_retry_away():
    # Paid until 31 January, unpaid until 28 February: 28 days.
    row = past_due(anchor=datetime(2025, 12, 31, 10, tzinfo=UTC), end_date=START)
    row.dunning_step = 3
    assert unpaid_period(row).end == END
    assert next_action(row) == (Action.RETRY, START + 21 * DAY)


def test_settings_decide_the_days(settings):
    settings.GRACE_DAYS, settings.DUNNING_DAYS = 3, [1]
    row = past_due()
    assert grace_end(row, row.end_date) == END + 3 * DAY
    assert next_action(row) == (Action.RETRY, END + DAY)
    row.dunning_step = 1
    assert next_action(row) == (Action.SUSPEND, END + 3 * DAY)


@pytest.mark.parametrize(
    ("moved_to", "month"), [("Europe/London", 5), ("Asia/Tokyo", 3), ("Pacific/Auckland", 5), ("America/New_York", 9)]
)
def test_the_unpaid_period_starts_where_the_paid_one_ends_in_another_zone_too(moved_to, month):
    """A subscriber in Berlin moves: his next period must not overlap the one that he has paid."""
    anchor = datetime(2026, 1, 31, 9, tzinfo=UTC)
    row = subscription(anchor=anchor, timezone="Europe/Berlin", end_date=anchor)
    for _ in range(month):
        row.end_date = unpaid_period(row).end
    row.timezone = moved_to
    assert unpaid_period(row).start == row.end_date


def test_free_has_no_period_to_pay():
    with pytest.raises(AssertionError, match="free"):
        unpaid_period(subscription(end_date=None))


# --- the one writer --------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(db, user):
    row = subscription("pending", user=user, plan_id=insert("plans"), currency="USD", end_date=START)
    subscription_start(row, reason="subscribe", actor="system", at=START)
    return row


def test_a_start_is_scheduled_and_recorded(stored):
    stored.refresh_from_db()
    assert stored.next_action_at == START + django_settings.CHECKOUT_LIFETIME
    assert list(stored.events.values_list("sequence", "from_status", "to_status", "reason", "actor", "at")) == [
        (1, "", "pending", "subscribe", "system", START)
    ]


def test_a_step_writes_its_fields_its_moment_its_event_and_its_message(stored):
    subscription_move(stored, Status.ACTIVE, reason="paid", actor="user:1", at=END, end_date=END)
    stored.refresh_from_db()
    assert (stored.status, stored.end_date, stored.next_action_at) == ("active", END, END)
    event = stored.events.get(sequence=2)
    assert (event.from_status, event.to_status, event.reason, event.actor, event.at) == (
        "pending",
        "active",
        "paid",
        "user:1",
        END,
    )
    told = OutboxEvent.objects.get(type="subscription.active")
    assert (told.subject_type, told.subject_id, told.occurred_at) == ("subscription", stored.pk, END)
    assert told.payload == {"sequence": 2, "from": "pending", "to": "active", "reason": "paid"}


def test_what_the_table_lacks_is_refused_and_changes_nothing(stored):
    with pytest.raises(InvalidTransition, match="pending cannot become paused"):
        subscription_move(stored, Status.PAUSED, reason="x", actor="system", at=END, paused_at=END)
    assert (stored.status, stored.paused_at) == ("pending", None)
    stored.refresh_from_db()
    assert (stored.status, stored.events.count()) == ("pending", 1)


def test_a_lease_keeps_the_sweep_away_until_the_next_write(stored):
    subscription_update(stored, lease_until=END)
    stored.refresh_from_db()
    assert stored.next_action_at == END
    subscription_update(stored, auto_renew=False)
    stored.refresh_from_db()
    assert (stored.auto_renew, stored.next_action_at) == (False, START + django_settings.CHECKOUT_LIFETIME)


# --- the database's half ---------------------------------------------------------------------------------------------

#: What the code of checkouts and deliveries does (they have no table in code, for nothing branches on it).
CHECKOUTS = {
    "unknown": {"open", "paid", "expired", "superseded"},
    "open": {"paid", "expired", "superseded"},
    "expired": {"paid"},  # a late payment at the quoted amount
    "superseded": {"paid"},
    "paid": set(),
}
EVENTS = {
    "received": {"processed", "ignored", "failed", "review"},
    "failed": {"received", "processed", "ignored", "review"},
    "review": {"received"},
    "processed": {"received"},
    "ignored": {"received"},
    "rejected": set(),
}
TABLES = {
    "subscriptions": (Status, TRANSITIONS),
    "invoices": (InvoiceStatus, INVOICE_TRANSITIONS),
    "payment_transactions": (TransactionStatus, TRANSACTION_TRANSITIONS),
    "checkouts": (CheckoutStatus, CHECKOUTS),
    "webhook_events": (InboundStatus, EVENTS),
}


@pytest.mark.django_db
@pytest.mark.parametrize("table", TABLES)
def test_the_database_takes_the_steps_of_the_code_and_no_others(table):
    statuses, transitions = TABLES[table]
    taken = {str(status): set() for status in statuses}
    for before in statuses.values:
        fields = {"number": f"INV-2026-{before}", "issued_at": START} if table == "invoices" else {}
        if table == "payment_transactions":  # of a refund: what is none takes no step to reversed
            fields = {"type": "refund", "parent_id": insert(table)}
        row = insert(table, status=before, **fields)
        for after in statuses.values:
            if after == before:
                continue
            try:
                with transaction.atomic():
                    update(table, row, status=after)
                    taken[before].add(after)
                    transaction.set_rollback(True)
            except IntegrityError as refusal:
                assert refusal.__cause__.diag.constraint_name == f"{table}_transition"
        assert update(table, row, status=before) == 1, "staying is no step"
    assert taken == {str(before): {str(after) for after in steps} for before, steps in transitions.items()}


def test_every_status_is_in_its_table():
    for statuses, transitions in TABLES.values():
        assert set(transitions) == set(statuses.values)
    assert set(Status.values) - LIVE == {"pending", "cancelled", "expired"}


def test_the_table_is_the_designs():
    assert {str(before): sorted(map(str, steps)) for before, steps in TRANSITIONS.items()} == {
        "pending": ["active", "cancelled", "expired", "trial"],
        "trial": ["active", "cancelled", "expired", "past_due"],
        "active": ["cancelled", "expired", "past_due", "paused", "suspended"],
        "past_due": ["active", "cancelled", "expired", "suspended"],
        "suspended": ["active", "cancelled", "expired"],
        "paused": ["active", "cancelled", "expired", "past_due"],
        "expired": ["active"],
        "cancelled": ["active"],
    }
