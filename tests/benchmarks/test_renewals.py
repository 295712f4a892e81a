"""What the renewals benchmark stands on: a whole world, a baseline that writes the product's rows, a verdict that bites."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.db import connection

from benchmarks.people import TABLES, Group, people_make
from benchmarks.renewals import raw
from benchmarks.renewals.books import FAULTS, Expected, count_rows, move_on, verify
from benchmarks.workload import WrongAnswer
from payflow.core import clock
from payflow.core.registry import registered
from providers import registry
from subscriptions.periods import period_at

SINCE = datetime(2015, 1, 1, 9, tzinfo=UTC)
DUE, UNTIL = datetime(2015, 2, 1, 9, tzinfo=UTC), datetime(2015, 3, 1, 9, tzinfo=UTC)
PEOPLE = 4

FOREIGN_KEYS = """
SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND c.conrelid::regclass::text = ANY(%s)
"""
#: Real time, which is never the same twice.
OF_REAL_TIME = ("updated_at", "recorded_at", "next_attempt_at")
#: The rows that belong to one renewal.
ROWS = {
    "subscriptions": "id = %(subscription)s",
    "invoices": "subscription_id = %(subscription)s AND period_start = %(due)s",
    "invoice_lines": "invoice_id IN (SELECT id FROM invoices WHERE subscription_id = %(subscription)s)"
    " AND period_start = %(due)s",
    "billing_periods": "subscription_id = %(subscription)s AND start = %(due)s",
    "payment_transactions": "subscription_id = %(subscription)s AND created_at = %(due)s",
    "ledger_postings": "created_at = %(due)s"
    " AND invoice_id IN (SELECT id FROM invoices WHERE subscription_id = %(subscription)s)",
    "ledger_entries": "posting_id IN (SELECT p.id FROM ledger_postings p JOIN invoices i ON i.id = p.invoice_id"
    " WHERE i.subscription_id = %(subscription)s AND p.created_at = %(due)s)",
    "outbox_events": "subject_id = %(subscription)s",
    "outbox_handlings": "event_id IN (SELECT id FROM outbox_events WHERE subject_id = %(subscription)s)",
}


@pytest.fixture
def world(transactional_db, settings, monkeypatch):
    monkeypatch.setitem(registry.ADAPTERS, "instant", "benchmarks.instant:InstantProvider")
    settings.PAYFLOW_PROVIDERS = {"instant": {"adapter": "instant"}}
    people_make([Group(PEOPLE, SINCE), Group(6, datetime(2015, 1, 10, tzinfo=UTC), "yearly", 10, minutes=5)])


def query(text, given=None):
    with connection.cursor() as cursor:
        cursor.execute(text, given)
        return cursor.fetchall()


def sweep(now=DUE):
    return registered.sweeps["subscriptions_due"].run(now=now, wall=clock.wall())


def rows_of(subscription):
    """All that a renewal wrote, without keys, numbers and real time."""
    found = {}
    for table, which in ROWS.items():
        dropped = "".join(f" - '{column}'" for column in OF_REAL_TIME)
        # The outbox is real time's too; everything else is created in business time.
        dropped += " - 'created_at'" if table.startswith("outbox") else ""
        rows = query(
            f"SELECT (to_jsonb(t) - 'id'{dropped})::text FROM {table} t WHERE {which}",
            {"subscription": subscription, "due": DUE},
        )
        masked = (re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "KEY", row) for (row,) in rows)
        found[table] = sorted(re.sub(r"INV-2015-\d+", "NUMBER", row) for row in masked)
    return found


def test_the_world_is_whole(world):
    for table, column, to in query(FOREIGN_KEYS, [TABLES]):
        lost = f"SELECT count(*) FROM {table} t LEFT JOIN {to} o ON o.id = t.{column} WHERE t.{column} IS NOT NULL"
        assert query(f"{lost} AND o.id IS NULL") == [(0,)], (table, column)
    for what, fault in FAULTS.items():
        assert query(fault, {"due": SINCE}) == [(0,)], what
    assert query("SELECT count(*) FROM subscriptions WHERE next_action_at <= %s", [DUE]) == [(PEOPLE,)]
    assert query("SELECT count(*) FROM billing_periods WHERE superseded_at IS NULL") == [(PEOPLE + 6,)]


def test_making_it_leaves_every_index_and_constraint_as_it_was(transactional_db):
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    constraints = "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2"
    before = query(indexes), query(constraints)

    people_make([Group(PEOPLE, SINCE)])

    assert (query(indexes), query(constraints)) == before


def test_the_baseline_writes_what_the_product_writes(world, settings):
    settings.SWEEP_BATCH = 1
    assert sweep() == 1
    assert raw.renew_due(now=DUE, wall=clock.wall(), limit=1) == 1

    renewed = query("SELECT id FROM subscriptions WHERE end_date = %s ORDER BY id", [UNTIL])
    by_one, by_the_other = (rows_of(subscription) for (subscription,) in renewed)

    assert by_one == by_the_other
    assert {table: len(rows) for table, rows in by_one.items() if table != "outbox_handlings"} == {
        "subscriptions": 1,
        "invoices": 1,
        "invoice_lines": 1,
        "billing_periods": 1,
        "payment_transactions": 1,
        "ledger_postings": 2,
        "ledger_entries": 4,
        "outbox_events": 1,
    }


def test_month_after_month_both_pass_the_same_verdict(world, settings):
    settings.SWEEP_BATCH = 3
    for month in range(1, 5):
        period, before = period_at(SINCE, "monthly", month), count_rows()
        due = Expected(PEOPLE, period.start, period.end)
        if month % 2:
            while sweep(due.due):
                pass
        else:
            while raw.renew_due(now=due.due, wall=clock.wall(), limit=3):
                pass
        verify(due, before)
        move_on()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("DELETE FROM outbox_handlings", "new rows in outbox_handlings: 0"),
        (
            "INSERT INTO users (id, password, is_superuser, email, name, timezone, is_active, is_staff)"
            " VALUES (gen_random_uuid(), '', false, 'more@benchmark.invalid', '', 'UTC', true, false)",
            "new rows in users: 1",
        ),
        ("UPDATE payment_transactions SET provider_txn_id = NULL", "completed charges of such invoices: 0"),
        ("UPDATE number_counters SET last = last + 1", "years whose invoice numbers have gaps: 1"),
        ("UPDATE subscriptions SET next_action_at = start_date", "subscriptions still due"),
    ],
)
def test_what_is_wrong_is_no_figure(world, wrong, said):
    before = count_rows()
    while raw.renew_due(now=DUE, wall=clock.wall(), limit=3):
        pass
    with connection.cursor() as cursor:
        cursor.execute(wrong)

    with pytest.raises(WrongAnswer, match=said):
        verify(Expected(PEOPLE, DUE, UNTIL), before)


def test_a_renewal_that_is_missing_is_no_figure(world):
    before = count_rows()
    raw.renew_due(now=DUE, wall=clock.wall(), limit=PEOPLE - 1)

    with pytest.raises(WrongAnswer, match="subscriptions that run to the next due moment: 3, expected 4"):
        verify(Expected(PEOPLE, DUE, UNTIL), before)
