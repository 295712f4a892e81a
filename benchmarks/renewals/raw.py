"""The baseline: the rows of a renewal, written by nothing but SQL. As few statements as the rules of the tables allow.

Two transactions around the provider's answer, as in the product: the intent (invoice as a draft, its line, its period, the
books, the pending charge, the number as the last lock), then the result. A batch is a set of arrays, never an object a row.
Constraints and triggers are the product's, and so is every column: `tests/benchmarks` compares the rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from typing import Any

from django.db import connection
from psycopg import Cursor
from uuid_utils import uuid7

from benchmarks.instant import payment_id
from payflow.core.money import Money
from payflow.core.registry import registered
from subscriptions.periods import period_containing

EVENT = "subscription.renewed"
LEASE = timedelta(minutes=5)

CLAIM = """
SELECT s.id::text, s.user_id::text, s.payment_method_id::text, s.plan_id::text, s.amount, s.currency,
       s.provider, s.end_date, s.anchor, s.billing_cycle, s.billing_interval, s.timezone, p.name, p.code, m.kind
FROM subscriptions s JOIN plans p ON p.id = s.plan_id JOIN payment_methods m ON m.id = s.payment_method_id
WHERE s.next_action_at <= %(now)s ORDER BY s.next_action_at LIMIT %(limit)s
FOR NO KEY UPDATE OF s SKIP LOCKED
"""

#: In this order: lines go to drafts only, and the counter is locked last.
INTENT = (
    "UPDATE subscriptions SET next_action_at = %(lease)s WHERE id = ANY(%(subscriptions)s)",
    """
INSERT INTO invoices (id, created_at, user_id, subscription_id, status, reason, currency, subtotal, discount, tax,
                      tax_included, credit, total, merchant_of_record, period_start, period_end)
SELECT invoice, %(now)s, "user", subscription, 'draft', 'cycle', currency, amount, 0, 0, 0, 0, amount, false, %(start)s,
       %(end)s
FROM unnest(%(invoices)s::uuid[], %(users)s::uuid[], %(subscriptions)s::uuid[], %(amounts)s::numeric[],
            %(currencies)s::text[]) AS given (invoice, "user", subscription, amount, currency)
""",
    """
INSERT INTO invoice_lines (id, created_at, invoice_id, position, kind, description, quantity, unit_amount, amount,
                           currency, period_start, period_end, explanation)
SELECT line, %(now)s, invoice, 1, 'plan', description, 1, amount, amount, currency, %(start)s, %(end)s, explanation
FROM unnest(%(lines)s::uuid[], %(invoices)s::uuid[], %(descriptions)s::text[], %(amounts)s::numeric[],
            %(currencies)s::text[], %(explanations)s::jsonb[])
    AS given (line, invoice, description, amount, currency, explanation)
""",
    """
INSERT INTO billing_periods (id, created_at, subscription_id, start, "end", cycle, plan_id, amount, currency,
                             invoice_id, source)
SELECT period, %(now)s, subscription, %(start)s, %(end)s, %(cycle)s, plan, amount, currency, invoice, 'renewal'
FROM unnest(%(periods)s::uuid[], %(subscriptions)s::uuid[], %(plans)s::uuid[], %(amounts)s::numeric[],
            %(currencies)s::text[], %(invoices)s::uuid[]) AS given (period, subscription, plan, amount, currency, invoice)
""",
    """
INSERT INTO ledger_postings (id, created_at, key, kind, user_id, invoice_id)
SELECT posting, %(now)s, 'invoice:' || invoice || ':issued', 'invoice_issued', "user", invoice
FROM unnest(%(claims)s::uuid[], %(invoices)s::uuid[], %(users)s::uuid[]) AS given (posting, invoice, "user")
""",
    """
INSERT INTO ledger_entries (id, created_at, posting_id, account, provider, amount, currency)
SELECT side.id, %(now)s, posting, side.account, '', side.amount, currency
FROM unnest(%(claim_debits)s::uuid[], %(claim_credits)s::uuid[], %(claims)s::uuid[], %(amounts)s::numeric[],
            %(currencies)s::text[]) AS given (debit, credit, posting, amount, currency),
     LATERAL (VALUES (debit, 'receivable', amount), (credit, 'revenue', -amount)) AS side (id, account, amount)
""",
    """
INSERT INTO payment_transactions (id, created_at, subscription_id, user_id, invoice_id, provider, type, status, amount,
                                  currency, refunded_amount, method_id, payment_method, idempotency_key, attempt,
                                  failure_code, recoverable, reason, metadata)
SELECT charge, %(now)s, subscription, "user", invoice, provider, 'charge', 'pending', amount, currency, 0, method, kind,
       key, 1, '', true, '', '{}'
FROM unnest(%(charges)s::uuid[], %(subscriptions)s::uuid[], %(users)s::uuid[], %(invoices)s::uuid[],
            %(providers)s::text[], %(amounts)s::numeric[], %(currencies)s::text[], %(methods)s::uuid[],
            %(kinds)s::text[], %(keys)s::text[])
    AS given (charge, subscription, "user", invoice, provider, amount, currency, method, kind, key)
""",
)

NUMBERS = """
INSERT INTO number_counters AS c (series, year, last) VALUES ('invoice', %(year)s, %(count)s)
ON CONFLICT (series, year) DO UPDATE SET last = c.last + EXCLUDED.last RETURNING last
"""

ISSUE = """
UPDATE invoices SET status = 'open', issued_at = %(now)s, due_at = %(now)s, number = given.number
FROM unnest(%(invoices)s::uuid[], %(numbers)s::text[]) AS given (id, number) WHERE invoices.id = given.id
"""

RESULT = (
    "SELECT id FROM subscriptions WHERE id = ANY(%(subscriptions)s) ORDER BY id FOR NO KEY UPDATE",
    """
UPDATE payment_transactions SET status = 'completed', provider_txn_id = given.payment, completed_at = %(now)s
FROM unnest(%(charges)s::uuid[], %(payments)s::text[]) AS given (id, payment) WHERE payment_transactions.id = given.id
""",
    "UPDATE invoices SET status = 'paid', paid_at = %(now)s WHERE id = ANY(%(invoices)s)",
    """
INSERT INTO ledger_postings (id, created_at, key, kind, user_id, invoice_id, transaction_id)
SELECT posting, %(now)s, 'transaction:' || charge, 'charge', "user", invoice, charge
FROM unnest(%(receipts)s::uuid[], %(charges)s::uuid[], %(users)s::uuid[], %(invoices)s::uuid[])
    AS given (posting, charge, "user", invoice)
""",
    """
INSERT INTO ledger_entries (id, created_at, posting_id, account, provider, amount, currency)
SELECT side.id, %(now)s, posting, side.account, side.provider, side.amount, currency
FROM unnest(%(receipt_debits)s::uuid[], %(receipt_credits)s::uuid[], %(receipts)s::uuid[], %(amounts)s::numeric[],
            %(currencies)s::text[], %(providers)s::text[]) AS given (debit, credit, posting, amount, currency, by),
     LATERAL (VALUES (debit, 'provider_clearing', by, amount), (credit, 'receivable', '', -amount))
         AS side (id, account, provider, amount)
""",
    """
UPDATE subscriptions SET current_period_start = %(start)s, end_date = %(end)s, next_action_at = %(end)s,
       grace_until = NULL, suspended_at = NULL, dunning_from = NULL, dunning_step = 0, payment_method_id = given.method
FROM unnest(%(subscriptions)s::uuid[], %(methods)s::uuid[]) AS given (id, method) WHERE subscriptions.id = given.id
""",
    """
INSERT INTO outbox_events (id, type, subject_type, subject_id, payload, occurred_at)
SELECT event, %(event)s, 'subscription', subscription, payload, %(now)s
FROM unnest(%(events)s::uuid[], %(subscriptions)s::uuid[], %(payloads)s::jsonb[]) AS given (event, subscription, payload)
""",
    """
INSERT INTO outbox_handlings (id, event_id, handler, status, attempts, next_attempt_at, error)
SELECT handling, event, handler, 'pending', 0, %(wall)s, ''
FROM unnest(%(handlings)s::uuid[], %(handled)s::uuid[], %(handlers)s::text[]) AS given (handling, event, handler)
""",
)

#: One new key a row: an invoice, a line, a period, a charge, two postings of two entries each, an event.
KEYS = (
    *("invoices", "lines", "periods", "charges", "claims", "claim_debits", "claim_credits"),
    *("receipts", "receipt_debits", "receipt_credits", "events"),
)


def renew_due(*, now: datetime, wall: datetime, limit: int) -> int:
    """Renews a batch of what is due, and returns its size. All of a batch must be due at one moment, on one grid."""
    connection.ensure_connection()
    raw = connection.connection
    # Not Django's cursor, which writes every value into the text of the statement.
    with raw.transaction(), Cursor(raw) as cursor:
        due = cursor.execute(CLAIM, {"now": now, "limit": limit}).fetchall()
        if not due:
            return 0
        rows = _columns(due) | {"now": now, "wall": wall, "lease": now + LEASE}
        for statement in INTENT:
            cursor.execute(statement, rows)
        (last,) = cursor.execute(NUMBERS, {"year": now.year, "count": len(due)}).fetchone()
        rows["numbers"] = [f"INV-{now.year}-{number:06d}" for number in range(last - len(due) + 1, last + 1)]
        cursor.execute(ISSUE, rows)
    rows["payments"] = [payment_id(key) for key in rows["keys"]]
    with raw.transaction(), Cursor(raw) as cursor:
        for statement in RESULT:
            cursor.execute(statement, rows)
    return len(due)


@cache
def _price(amount: Decimal, currency: str) -> str:
    return str(Money(amount, currency).amount)


def sweep(limit: int) -> partial[int]:
    return partial(renew_due, limit=limit)


def handlers() -> list[str]:
    """Who is told of a renewal: one row each."""
    return [handler.name for handler in registered.outbox_handlers.values() if EVENT in handler.types]


def _columns(due: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """The claimed rows as arrays, with the keys and texts of what is to be written."""
    subscriptions, users, methods, plans, amounts, currencies, providers, ends, *rest = map(
        list, zip(*due, strict=True)
    )
    anchors, cycles, intervals, zones, names, codes, kinds = rest
    period = period_containing(anchors[0], cycles[0], ends[0], interval=intervals[0], tz=zones[0])
    assert period.start == ends[0] == min(ends) == max(ends), "one moment, one period"
    columns = {name: [str(uuid7()) for _ in due] for name in KEYS}
    told = handlers()
    end = period.end.isoformat()
    return {
        **columns,
        "subscriptions": subscriptions,
        "users": users,
        "methods": methods,
        "plans": plans,
        "amounts": amounts,
        "currencies": currencies,
        "providers": providers,
        "kinds": kinds,
        "start": period.start,
        "end": period.end,
        "cycle": cycles[0],
        "keys": [f"charge_{charge}" for charge in columns["charges"]],
        "descriptions": [f"{name} ({cycle})" for name, cycle in zip(names, cycles, strict=True)],
        "explanations": [
            json.dumps(
                {
                    "formula": "price of one cycle",
                    "plan": code,
                    "price": _price(amount, currency),
                    "currency": currency,
                    "cycle": cycle,
                    "interval": interval,
                }
            )
            for code, amount, currency, cycle, interval in zip(
                codes, amounts, currencies, cycles, intervals, strict=True
            )
        ],
        "event": EVENT,
        "payloads": [json.dumps({"invoice": invoice, "period_end": end}) for invoice in columns["invoices"]],
        "handlings": [str(uuid7()) for _ in due for _ in told],
        "handled": [event for event in columns["events"] for _ in told],
        "handlers": told * len(due),
    }
