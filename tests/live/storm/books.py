"""What a database says when it is over: each subscriber in one row, each piece of news in one, and nothing of a clock's."""

from __future__ import annotations

from typing import Any

import psycopg

#: Periods that go on: what was ended at the moment of its payment has had none, what was ended later a short one.
SUBSCRIBERS = """
    SELECT u.email, p.code, s.status, s.auto_renew, s.review_reason, s.dunning_step, s.payment_method_id IS NOT NULL,
        s.end_date > now(), s.grace_until IS NOT NULL, s.cancelled_at IS NOT NULL, s.disputed_at IS NOT NULL,
        s.next_action_at IS NOT NULL,
        ARRAY(SELECT concat_ws(' ', t.type, t.status, t.provider_txn_id, t.amount, t.refunded_amount, t.failure_code,
                               CASE WHEN t.invoice_id IS NULL THEN 'unapplied' END)
              FROM payment_transactions t WHERE t.user_id = u.id ORDER BY 1),
        ARRAY(SELECT concat_ws(' ', i.reason, i.status, i.total) FROM invoices i WHERE i.user_id = u.id ORDER BY 1),
        ARRAY(SELECT concat_ws(' ', b.source, b.amount) FROM billing_periods b
              WHERE b.subscription_id = s.id AND b.superseded_at IS NULL AND b."end" > now() ORDER BY 1),
        ARRAY(SELECT concat_ws(' ', c.purpose, c.status) FROM checkouts c WHERE c.user_id = u.id ORDER BY 1),
        ARRAY(SELECT concat_ws(' ', e.account, sum(e.amount)) FROM ledger_entries e
              JOIN ledger_postings o ON o.id = e.posting_id WHERE o.user_id = u.id GROUP BY e.account ORDER BY 1),
        ARRAY(SELECT concat_ws(' ', o.kind, count(*)) FROM ledger_postings o
              WHERE o.user_id = u.id GROUP BY o.kind ORDER BY 1)
    FROM users u JOIN subscriptions s ON s.user_id = u.id JOIN plans p ON p.id = s.plan_id ORDER BY u.email, s.id
"""
#: Notes tell the story, which is another one in a storm; the verdict is the same.
NEWS = "SELECT event_id, status FROM webhook_events WHERE status <> 'rejected' ORDER BY event_id"
MONEY_KEYS = """
    SELECT provider, type, provider_txn_id, count(*) FROM payment_transactions WHERE provider_txn_id IS NOT NULL
    GROUP BY 1, 2, 3 HAVING count(*) > 1
"""
BELIEVED_FORGERIES = """
    SELECT 'transaction ' || provider_txn_id FROM payment_transactions
    WHERE provider_txn_id LIKE '%\\_forged\\_%' OR amount = 999
    UNION ALL
    SELECT 'event ' || event_id || ' is ' || status FROM webhook_events
    WHERE (status = 'rejected') <> (event_id LIKE 'rejected:%')
    UNION ALL
    SELECT 'forged ' || id || ' was tried' FROM webhook_events
    WHERE status = 'rejected' AND (attempts > 0 OR processed_at IS NOT NULL OR next_attempt_at IS NOT NULL OR processed)
    UNION ALL
    SELECT 'event ' || event_id || ' is stored with a forged body' FROM webhook_events
    WHERE status <> 'rejected' AND position('_forged_'::bytea in body) > 0
"""


def differences(found: str, expected: str, query: str) -> list[str]:
    """Where the answers of two databases to one question differ, by the first column."""
    left, right = ({row[0]: row for row in rows(url, query)} for url in (found, expected))
    return [
        f"{key}: found {left.get(key)}, after a quiet day {right.get(key)}"
        for key in sorted({*left, *right})
        if left.get(key) != right.get(key)
    ]


def rows(url: str, query: str, *params: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query, params or None).fetchall()
