"""kill -9 of a real worker while the provider holds its answer open: one charge, one transaction, one period."""

from __future__ import annotations

import pytest
import redis

from tests.live.stack import Stack, eventually, send

# The template of the stack's database is the test database.
pytestmark = pytest.mark.django_db


def test_a_killed_renewal_is_resolved_by_asking_the_provider(stack: Stack) -> None:
    # given a subscription whose stored method is charged at once but answered late
    visitor = stack.visitor()
    bought = visitor.buy(card="hold")
    stack.move_clock_past(bought["end_date"])
    pending = "SELECT idempotency_key FROM payment_transactions WHERE user_id = %s AND status = 'pending'"

    # when the worker is killed after the provider took the charge and before it answered
    stack.sweep()
    ((key,),) = eventually(lambda: stack.sql(pending, visitor.id), "the committed intent")
    eventually(lambda: _charges(stack, key) == 1, "the provider's charge")
    stack.kill("worker")
    assert stack.sql(pending, visitor.id) == [(key,)]
    # ... and its webhook, which would resolve it as well, never comes
    stack.sql("DELETE FROM sandbox_deliveries WHERE position(%s in body) > 0", key)

    # then a new worker asks instead of charging again, once the lease has run out
    stack.worker("worker")
    lease_end = stack.one("SELECT next_action_at FROM subscriptions WHERE id = %s", bought["id"])
    stack.move_clock_past(lease_end.isoformat())
    stack.sweep()
    eventually(lambda: visitor.me()["end_date"] != bought["end_date"], "the renewal")
    assert _charges(stack, key) == 1
    counts = visitor.counts()
    assert (counts["payment_transactions"], counts["invoices"], counts["billing_periods"]) == (2, 2, 2)
    assert visitor.me()["current_period_start"] == bought["end_date"]
    assert stack.sql(pending, visitor.id) == []
    # and no later test waits for this card: the stack's clock goes on, and the worker is one
    assert stack.api("DELETE", f"subscriptions/{bought['id']}", token=visitor.token).status == 200


def test_a_killed_worker_leaves_a_webhook_for_the_sweep(stack: Stack) -> None:
    """Worker dead and broker wiped: the delivery is answered, kept, and found by beat's sweep."""
    visitor = stack.visitor()
    page = visitor.subscribe("lava").data["checkout_url"]
    stack.kill("worker")

    assert send("POST", page, form={"outcome": "pay"}).status == 303
    event = "SELECT status FROM webhook_events WHERE provider = 'lava' ORDER BY created_at DESC LIMIT 1"
    assert stack.one(event) == "received"
    redis.Redis.from_url(stack.redis_url).flushdb()

    stack.worker("worker")
    stack.beat()
    try:
        eventually(lambda: visitor.me()["status"] == "active", "beat's sweep", seconds=45)
    finally:
        stack.kill("beat")
    assert stack.one(event) == "processed"
    assert visitor.counts()["payment_transactions"] == 1


def _charges(stack: Stack, key: str) -> int:
    count: int = stack.one("SELECT count(*) FROM sandbox_payments WHERE idempotency_key = %s", key)
    return count
