"""What must be true after so many renewals: every row there is, no other row, the books balanced. Otherwise no figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from celery import current_app
from django.db import connection
from psycopg import sql

from benchmarks.renewals.raw import EVENT, handlers
from benchmarks.workload import WrongAnswer

TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""

#: What one renewal adds to each table; to every other table nothing. New numbers are one row a year.
ADDED = {
    "invoices": 1,
    "invoice_lines": 1,
    "billing_periods": 1,
    "payment_transactions": 1,
    "ledger_postings": 2,
    "ledger_entries": 4,
    "outbox_events": 1,
}
ANY_NUMBER = frozenset({"number_counters"})

#: Each counts the renewals of one due moment in its own way.
COUNTS = {
    "subscriptions that run to the next due moment": """
        SELECT count(*) FROM subscriptions WHERE status = 'active' AND current_period_start = %(due)s
           AND end_date = %(until)s AND next_action_at = %(until)s""",
    "paid invoices with a number and the line of their total": """
        SELECT count(*) FROM invoices i JOIN invoice_lines l ON l.invoice_id = i.id AND l.amount = i.total
        WHERE i.period_start = %(due)s AND i.period_end = %(until)s AND i.status = 'paid' AND i.number IS NOT NULL
           AND i.paid_at = %(due)s AND i.reason = 'cycle'""",
    "completed charges of such invoices": """
        SELECT count(*) FROM payment_transactions t JOIN invoices i ON i.id = t.invoice_id AND i.total = t.amount
        WHERE i.period_start = %(due)s AND t.type = 'charge' AND t.status = 'completed' AND t.completed_at = %(due)s
           AND t.provider_txn_id IS NOT NULL""",
    "periods with a paid invoice of their own": """
        SELECT count(DISTINCT p.invoice_id) FROM billing_periods p
        JOIN invoices i ON i.id = p.invoice_id AND i.status = 'paid' AND i.subscription_id = p.subscription_id
        WHERE p.start = %(due)s AND p."end" = %(until)s AND p.superseded_at IS NULL AND p.amount = i.total""",
    "claims and receipts in the books, half": """
        SELECT count(*) / 2 FROM ledger_postings p JOIN invoices i ON i.id = p.invoice_id
        WHERE i.period_start = %(due)s AND p.kind IN ('invoice_issued', 'charge')""",
    "events of a renewal": f"""
        SELECT count(*) FROM outbox_events WHERE type = '{EVENT}' AND occurred_at = %(due)s""",
}

#: What there must be none of.
FAULTS = {
    "subscriptions still due": "SELECT count(*) FROM subscriptions WHERE next_action_at <= %(due)s",
    "postings out of balance": """
        SELECT count(*) FROM (SELECT 1 FROM ledger_entries e JOIN ledger_postings p ON p.id = e.posting_id
            WHERE p.created_at >= %(due)s GROUP BY e.posting_id, e.currency HAVING sum(e.amount) <> 0) AS wrong""",
    "years whose invoice numbers have gaps": """
        SELECT count(*) FROM number_counters c WHERE series = 'invoice' AND last <>
            (SELECT count(*) FROM invoices WHERE number LIKE 'INV-' || c.year || '-%%')""",
    "currencies with claims that nobody has paid": """
        SELECT count(*) FROM (SELECT 1 FROM ledger_entries WHERE account = 'receivable'
            GROUP BY currency HAVING sum(amount) <> 0) AS unpaid""",
}


@dataclass(frozen=True)
class Expected:
    """So many subscriptions are due at `due`, and renewed until `until`."""

    renewals: int
    due: datetime
    until: datetime


def count_rows() -> dict[str, int]:
    """Every table with the number of its rows."""
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        names = sorted(name for (name,) in cursor.fetchall())
        counts = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, count(*) FROM {}").format(sql.Literal(name), sql.Identifier(name)) for name in names
        )
        cursor.execute(counts)
        return dict(cursor.fetchall())


def verify(expected: Expected, before: Mapping[str, int]) -> None:
    """`before`: `count_rows` as it was. Raises WrongAnswer with everything that differs."""
    wrong = [*_wrong_counts(expected), *_wrong_rows(expected, before)]
    if wrong:
        raise WrongAnswer(f"{expected.renewals} renewals due at {expected.due}:\n" + "\n".join(wrong))


def move_on() -> None:
    """What a month would have done meanwhile: the events are handled, the charges are of another day, the tables clean.

    The intents' real time moves into business time, or the limit on charges a day would refuse the month after next. No
    CHECKPOINT: after it each page is logged whole once, which would make few renewals dearer than many.
    """
    with connection.cursor() as cursor:
        cursor.execute("UPDATE outbox_handlings SET status = 'done' WHERE status = 'pending'")
        cursor.execute("UPDATE payment_transactions SET recorded_at = created_at WHERE recorded_at > created_at")
        cursor.execute("VACUUM (ANALYZE)")
    with current_app.connection_for_write() as broker:
        broker.default_channel.queue_purge("celery")


def _wrong_counts(expected: Expected) -> list[str]:
    given = {"due": expected.due, "until": expected.until}
    wrong = []
    with connection.cursor() as cursor:
        for checks, right in ((COUNTS, expected.renewals), (FAULTS, 0)):
            for what, query in checks.items():
                cursor.execute(query, given)
                (found,) = cursor.fetchone()
                if found != right:
                    wrong.append(f"{what}: {found}, expected {right}")
    return wrong


def _wrong_rows(expected: Expected, before: Mapping[str, int]) -> list[str]:
    """More rows, or fewer, than the baseline writes: then the ratio would compare two different things."""
    added = ADDED | {"outbox_handlings": len(handlers())}
    after = count_rows()
    return [
        f"new rows in {name}: {grown}, expected {right}"
        for name in sorted(after.keys() - ANY_NUMBER)
        if (grown := after[name] - before.get(name, 0)) != (right := added.get(name, 0) * expected.renewals)
    ]
