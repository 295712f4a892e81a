"""Each invariant can fail: a finished world is broken with SQL; this invariant reports it, and beside it what sees the whole.

The world is made once and committed; each breakage lives in its test's transaction, with triggers and foreign keys off.
"""

from __future__ import annotations

import logging

import pytest
from django.db import connection

from portal.simulator.invariants import INVARIANTS, invariants_check
from portal.simulator.run import simulation_run
from portal.simulator.world import Complaints
from tests.database import empty_tables

pytestmark = pytest.mark.django_db

PERIOD_COLUMNS = 'subscription_id, start, "end", cycle, plan_id, amount, currency, source, created_at'
#: Of a subscription that was paid for and is over; of one that is paid for now.
LIVED = (
    "SELECT p.id FROM billing_periods p JOIN invoices i ON i.id = p.invoice_id AND i.status = 'paid'"
    ' WHERE p.superseded_at IS NULL AND p.amount > 0 AND p."end" < %(now)s'
)
PAID_CHARGE = (
    "SELECT id FROM payment_transactions WHERE type = 'charge' AND status = 'completed' AND invoice_id IS NOT NULL"
)

BREAKAGES = {
    "a lived period is taken back": (
        "access_has_one_period",
        f"UPDATE billing_periods SET superseded_at = %(now)s WHERE id = ({LIVED} ORDER BY p.start LIMIT 1)",
    ),
    "a lived trial is taken back": (
        "access_has_one_period",
        "UPDATE billing_periods SET superseded_at = %(now)s WHERE id = (SELECT p.id FROM billing_periods p"
        " WHERE source = 'trial' AND superseded_at IS NULL ORDER BY start LIMIT 1)",
    ),
    "a period is there twice": (
        "access_has_one_period",
        "ALTER TABLE billing_periods DROP CONSTRAINT billing_periods_no_overlap;"
        f' INSERT INTO billing_periods (id, {PERIOD_COLUMNS}) SELECT gen_random_uuid(), subscription_id, start, "end",'
        f" cycle, plan_id, 0, currency, source, created_at FROM billing_periods WHERE id = ({LIVED} LIMIT 1)",
    ),
    "a lived period was never paid": (
        "access_was_paid_for",
        "WITH unpaid AS (INSERT INTO invoices (id, user_id, subscription_id, status, reason, currency, subtotal, discount,"
        " tax, credit, total, merchant_of_record) SELECT gen_random_uuid(), user_id, subscription_id, 'open', reason,"
        " currency, 0, 0, 0, 0, 0, true FROM invoices WHERE id = (SELECT invoice_id FROM billing_periods WHERE id ="
        f" ({LIVED} ORDER BY p.start LIMIT 1)) RETURNING id)"
        f" UPDATE billing_periods SET invoice_id = (SELECT id FROM unpaid) WHERE id = ({LIVED} ORDER BY p.start LIMIT 1)",
    ),
    "a lived period was given back at its beginning": (
        "access_was_paid_for",
        "WITH charge AS (UPDATE payment_transactions SET status = 'refunded' WHERE id = (SELECT t.id FROM billing_periods p"
        " JOIN payment_transactions t ON t.invoice_id = p.invoice_id AND t.status = 'completed' AND t.type = 'charge'"
        ' WHERE p.superseded_at IS NULL AND p."end" < %(now)s ORDER BY p.start LIMIT 1) RETURNING *)'
        " INSERT INTO payment_transactions (id, user_id, parent_id, provider, type, status, amount, currency,"
        " refunded_amount, idempotency_key, attempt, failure_code, recoverable, reason, metadata, completed_at)"
        " SELECT gen_random_uuid(), user_id, id, 'elsewhere', 'refund', 'completed', amount, currency, 0, 'back', 1, '',"
        " true, '', '{}', completed_at + interval '1 hour' FROM charge",
    ),
    "what has ended gives access": (
        "access_is_deserved",
        "UPDATE subscriptions SET status = 'active', cancelled_at = NULL, end_date = %(now)s + interval '9 days',"
        " next_action_at = %(now)s + interval '9 days' WHERE id = (SELECT id FROM subscriptions s"
        " WHERE status IN ('cancelled', 'expired') AND end_date < %(now)s - interval '9 days' AND NOT EXISTS (SELECT 1"
        " FROM subscriptions o WHERE o.user_id = s.user_id AND o.id <> s.id) ORDER BY created_at LIMIT 1)",
    ),
    "who got his money back keeps access": (
        "access_is_deserved",
        "UPDATE payment_transactions SET status = 'refunded' WHERE id = (SELECT t.id FROM subscriptions s"
        " JOIN billing_periods p ON p.subscription_id = s.id AND p.superseded_at IS NULL"
        " JOIN payment_transactions t ON t.invoice_id = p.invoice_id AND t.status = 'completed' AND t.type = 'charge'"
        " WHERE s.status = 'active' AND %(now)s >= p.start AND %(now)s < p.\"end\" ORDER BY s.created_at LIMIT 1)",
    ),
    "grace does not end": (
        "access_is_deserved",
        "UPDATE subscriptions SET status = 'past_due', grace_until = %(now)s + interval '90 days',"
        " dunning_from = %(now)s - interval '8 days', next_action_at = %(now)s + interval '9 days'"
        " WHERE id = (SELECT id FROM subscriptions s WHERE status IN ('cancelled', 'expired') AND NOT EXISTS (SELECT 1"
        " FROM subscriptions o WHERE o.user_id = s.user_id AND o.id <> s.id) ORDER BY created_at LIMIT 1)",
    ),
    "who has paid is shut out": (
        "paid_time_is_granted",
        "UPDATE subscriptions SET status = 'expired', next_action_at = NULL WHERE id = (SELECT s.id FROM subscriptions s"
        " JOIN billing_periods p ON p.subscription_id = s.id AND p.superseded_at IS NULL AND p.amount > 0"
        " JOIN invoices i ON i.id = p.invoice_id AND i.status = 'paid'"
        " WHERE s.status = 'active' AND %(now)s >= p.start AND %(now)s < p.\"end\" ORDER BY s.created_at LIMIT 1)",
    ),
    "a period has no invoice": (
        "period_has_one_invoice",
        f"INSERT INTO billing_periods (id, {PERIOD_COLUMNS}) SELECT gen_random_uuid(), subscription_id,"
        " %(now)s + interval '900 days', %(now)s + interval '930 days', cycle, plan_id, 5, currency, source, created_at"
        f" FROM billing_periods WHERE id = ({LIVED} LIMIT 1)",
    ),
    "an invoice is charged twice": (
        "invoice_has_one_charge",
        "DROP INDEX uniq_payment_transactions_charge_per_invoice;"
        " INSERT INTO payment_transactions (id, user_id, invoice_id, provider, type, status, amount, currency,"
        " refunded_amount, idempotency_key, attempt, failure_code, recoverable, reason, metadata)"
        " SELECT gen_random_uuid(), user_id, invoice_id, 'elsewhere', type, status, amount, currency, 0, 'again', 2, '',"
        f" true, '', '{{}}' FROM payment_transactions WHERE id = ({PAID_CHARGE} LIMIT 1)",
    ),
    "a paid invoice has lost its charge": (
        "invoice_has_one_charge",
        f"UPDATE payment_transactions SET invoice_id = NULL WHERE id = ({PAID_CHARGE} AND EXISTS (SELECT 1"
        " FROM payment_transactions r WHERE r.parent_id = payment_transactions.id) LIMIT 1)",
    ),
    "the provider knows a charge by another name": (
        "books_agree",
        f"UPDATE payment_transactions SET provider_txn_id = 'unheard of' WHERE id = ({PAID_CHARGE} AND NOT EXISTS (SELECT 1"
        " FROM payment_transactions r WHERE r.parent_id = payment_transactions.id) LIMIT 1)",
    ),
    "a refund of another amount": (
        "books_agree",
        "UPDATE payment_transactions SET amount = amount + 1 WHERE id = (SELECT id FROM payment_transactions"
        " WHERE type = 'refund' LIMIT 1)",
    ),
    "a posting does not balance": (
        "ledger_balances",
        "UPDATE ledger_entries SET amount = amount + 1 WHERE id = (SELECT id FROM ledger_entries"
        " WHERE account = 'revenue' LIMIT 1)",
    ),
    "clearing is at another provider": (
        "ledger_balances",
        "UPDATE ledger_entries SET provider = 'elsewhere' WHERE id = (SELECT id FROM ledger_entries"
        " WHERE account = 'provider_clearing' LIMIT 1)",
    ),
    "a claim is posted to tax": (
        "ledger_balances",
        "UPDATE ledger_entries SET account = 'tax' WHERE id = (SELECT id FROM ledger_entries"
        " WHERE account = 'receivable' LIMIT 1)",
    ),
    "a number is left out": (
        "numbers_have_no_gap",
        "UPDATE invoices SET number = 'INV-2041-009999' WHERE number = 'INV-2041-000003'",
    ),
    "a charge has no answer": (
        "nothing_is_left_undone",
        "INSERT INTO payment_transactions (id, user_id, provider, type, status, amount, currency,"
        " refunded_amount, idempotency_key, attempt, failure_code, recoverable, reason, metadata)"
        " SELECT gen_random_uuid(), user_id, provider, type, 'pending', amount, currency, 0, 'no answer', 1, '',"
        f" true, '', '{{}}' FROM payment_transactions WHERE id = ({PAID_CHARGE} LIMIT 1)",
    ),
    "news is unread": (
        "nothing_is_left_undone",
        "UPDATE webhook_events SET status = 'failed' WHERE id = (SELECT id FROM webhook_events LIMIT 1)",
    ),
    "a renewal is overdue": (
        "nothing_is_left_undone",
        "UPDATE subscriptions SET next_action_at = %(now)s - interval '2 hours'"
        " WHERE id = (SELECT id FROM subscriptions WHERE status = 'active' LIMIT 1)",
    ),
    "the books call revenue a discount": (
        "books_are_proved",
        "UPDATE ledger_entries SET account = 'discounts' WHERE id = (SELECT e.id FROM ledger_entries e"
        " JOIN ledger_postings p ON p.id = e.posting_id JOIN invoices i ON i.id = p.invoice_id"
        " WHERE e.account = 'revenue' AND p.kind = 'invoice_issued' AND i.status = 'paid' LIMIT 1)",
    ),
    "a balance is more than its grants": (
        "credit_adds_up",
        "UPDATE credit_accounts SET balance = balance + 1 WHERE id = (SELECT id FROM credit_accounts LIMIT 1)",
    ),
    "a grant has more than was left of it": (
        "credit_adds_up",
        "WITH spent AS (UPDATE credit_uses SET amount = amount + 1 WHERE id = (SELECT id FROM credit_uses"
        " WHERE returned_at IS NULL LIMIT 1) RETURNING id) SELECT id FROM spent",
    ),
    "a coupon is taken and not counted": (
        "coupons_keep_their_limits",
        "UPDATE coupons SET redemptions = redemptions - 1 WHERE id = (SELECT coupon_id FROM coupon_redemptions"
        " WHERE status <> 'released' LIMIT 1)",
    ),
    "a coupon promised less": (
        "coupons_keep_their_limits",
        "UPDATE coupons SET duration = 'once', cycles = NULL WHERE id = (SELECT r.coupon_id FROM coupon_redemptions r"
        " JOIN coupons c ON c.id = r.coupon_id AND c.duration <> 'once' JOIN invoices i"
        " ON i.subscription_id = r.subscription_id AND i.status = 'paid' AND i.discount > 0 AND i.reason <> 'change'"
        " GROUP BY 1, r.subscription_id HAVING count(*) > 1 LIMIT 1)",
    ),
    "somebody paid for a year and had a day": (
        "nobody_paid_too_much",
        "UPDATE billing_periods SET plan_id = (SELECT id FROM plans WHERE code = 'sim-daily')"
        " WHERE id = (SELECT p.id FROM billing_periods p JOIN plans ON plans.id = p.plan_id JOIN invoices i"
        " ON i.id = p.invoice_id AND i.status = 'paid' AND i.total > 5 AND i.credit = 0 JOIN payment_transactions t"
        " ON t.invoice_id = i.id AND t.type = 'charge' AND t.refunded_amount = 0 AND t.status = 'completed'"
        " WHERE p.superseded_at IS NULL AND p.\"end\" > %(now)s AND plans.code <> 'sim-daily' LIMIT 1)",
    ),
    "a dispute is of another amount": (
        "books_agree",
        "UPDATE payment_transactions SET amount = amount + 1 WHERE id = (SELECT id FROM payment_transactions"
        " WHERE type = 'chargeback' AND status IN ('pending', 'completed') LIMIT 1)",
    ),
    "credit has expired and is still there": (
        "nothing_is_left_undone",
        "UPDATE credit_grants SET expires_at = %(now)s - interval '2 hours' WHERE id = (SELECT id FROM credit_grants"
        " WHERE remaining > 0 LIMIT 1)",
    ),
    "an event was not handled": (
        "nothing_is_left_undone",
        "UPDATE outbox_handlings SET status = 'failed' WHERE id = (SELECT id FROM outbox_handlings LIMIT 1)",
    ),
}
#: They see the whole: much that breaks one of the others breaks them too.
BESIDE = {"books_are_proved", "nobody_paid_too_much"}


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        outcome = simulation_run(subscribers=16, months=2, seed=5, faults=False)
        assert outcome.violations == []
        yield outcome.world
        empty_tables()


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_world_is_reported_by_exactly_this_invariant(world, name):
    invariant, sql = BREAKAGES[name]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for statement in sql.split("; "):
            cursor.execute(statement, {"now": world.now})
        assert cursor.rowcount == 1, "the world of this seed has a row to break"
    violations = invariants_check(world)
    broken = {violation.invariant for violation in violations}
    assert broken - BESIDE == {invariant} - BESIDE and invariant in broken
    assert all(violation.seed == world.seed and f"(seed {world.seed})" in str(violation) for violation in violations)


def test_an_error_in_the_log_is_a_violation(world):
    log = logging.getLogger("tests.simulator")
    log.propagate, complaints = False, []
    log.addHandler(handler := Complaints(complaints))
    try:
        log.warning("a decline")
        log.error("a row cannot be handled")
        log.error("a row cannot be handled")
    finally:
        log.removeHandler(handler)
    world.complaints += complaints
    try:
        assert [str(each) for each in invariants_check(world)] == [
            "nothing_broke (seed 5): tests.simulator logged: a row cannot be handled"
        ]
    finally:
        world.complaints.clear()


def test_every_invariant_is_broken_by_something():
    broken = {invariant for invariant, _ in BREAKAGES.values()}
    assert set(INVARIANTS) - broken == {"nothing_broke"}
