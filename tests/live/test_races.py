"""Races over real HTTP and real processes: the single effect, and what the refused callers left behind: nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.live.stack import Reply, Stack, eventually, send

# The template of the stack's database is the test database.
pytestmark = pytest.mark.django_db


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_subscribe_clicked_eight_times_makes_one_checkout(stack: Stack) -> None:
    visitor = stack.visitor()

    replies: list[Reply] = at_once(8, lambda _: visitor.subscribe())

    assert sorted(reply.status for reply in replies) == [200] * 7 + [201]
    assert len({reply.data["checkout_url"] for reply in replies}) == 1
    assert visitor.counts() == {
        "subscriptions": 1,
        "checkouts": 1,
        "invoices": 1,
        "payment_transactions": 0,
        "ledger_postings": 0,
        "billing_periods": 0,
        "subscription_events": 1,
    }
    order_ref = replies[0].data["checkout"]["order_ref"]
    assert stack.one("SELECT count(*) FROM sandbox_checkouts WHERE order_ref = %s", order_ref) == 1


def test_pay_clicked_eight_times_is_one_payment(stack: Stack) -> None:
    visitor = stack.visitor()
    page = visitor.subscribe().data["checkout_url"]

    at_once(8, lambda _: send("POST", page, form={"outcome": "pay"}))

    eventually(lambda: visitor.me()["status"] == "active", "the activation")
    _one_paid_period(visitor.counts())


def test_one_webhook_twelve_times_at_once_is_applied_once(stack: Stack) -> None:
    visitor = stack.visitor()
    order_ref = visitor.subscribe("lava").data["checkout"]["order_ref"]
    raw, headers = _lava_delivery(order_ref, invoice_id=f"inv_{uuid.uuid4().hex}")

    replies = at_once(12, lambda _: send("POST", f"{stack.url}/webhooks/lava", raw=raw, headers=headers))

    assert {reply.status for reply in replies} == {200}
    eventually(lambda: visitor.me()["status"] == "active", "the activation")
    key = f"lava:{json.loads(raw)['invoice_id']}:success"
    # Written after the activation is committed.
    query = "SELECT status FROM webhook_events WHERE event_id = %s"
    eventually(lambda: stack.sql(query, key) == [("processed",)], "the delivery's own end")
    _one_paid_period(visitor.counts())


def test_two_payments_of_one_order_at_once_settle_it_once(stack: Stack) -> None:
    """Both are real money: one activates, the other is kept as unapplied and grants nothing."""
    visitor = stack.visitor()
    order_ref = visitor.subscribe("lava").data["checkout"]["order_ref"]
    deliveries = [_lava_delivery(order_ref, invoice_id=f"inv_{uuid.uuid4().hex}") for _ in range(2)]

    at_once(2, lambda n: send("POST", f"{stack.url}/webhooks/lava", raw=deliveries[n][0], headers=deliveries[n][1]))

    keys = [f"lava:{json.loads(raw)['invoice_id']}:success" for raw, _ in deliveries]
    query = "SELECT status FROM webhook_events WHERE event_id = ANY(%s) AND status NOT IN ('received') ORDER BY 1"
    eventually(lambda: len(stack.sql(query, keys)) == 2, "both deliveries")
    assert stack.sql(query, keys) == [("processed",), ("review",)]
    settled = "SELECT count(*), count(invoice_id) FROM payment_transactions WHERE user_id = %s AND status = 'completed'"
    assert stack.sql(settled, visitor.id) == [(2, 1)]
    assert visitor.counts()["billing_periods"] == 1
    # Lava can't give it back: it waits, and then it is the customer's credit.
    unapplied = (
        "SELECT sum(e.amount) FROM ledger_entries e JOIN ledger_postings p ON p.id = e.posting_id"
        " WHERE p.user_id = %s AND e.account IN ('unapplied_payments', 'customer_credit')"
    )
    assert str(stack.one(unapplied, visitor.id)) == "-6.9900"


def test_two_workers_sweep_one_due_subscription_once(stack: Stack) -> None:
    visitor = stack.visitor()
    bought = visitor.buy()
    stack.worker("second")
    try:
        stack.move_clock_past(bought["end_date"])

        stack.sweep(times=16)

        eventually(lambda: visitor.me()["end_date"] != bought["end_date"], "the renewal")
        counts = visitor.counts()
        assert (counts["payment_transactions"], counts["invoices"], counts["billing_periods"]) == (2, 2, 2)
        charges = "SELECT count(*) FROM sandbox_payments WHERE idempotency_key = ANY(%s)"
        keys = [
            key
            for (key,) in stack.sql("SELECT idempotency_key FROM payment_transactions WHERE user_id = %s", visitor.id)
        ]
        assert stack.one(charges, keys) == 1  # of the stored method; the first was the checkout's
    finally:
        stack.kill("second")


def _one_paid_period(counts: dict[str, int]) -> None:
    assert counts == {
        "subscriptions": 1,
        "checkouts": 1,
        "invoices": 1,
        "payment_transactions": 1,
        "ledger_postings": 2,  # the invoice issued, the charge
        "billing_periods": 1,
        "subscription_events": 2,  # pending, active
    }


def _lava_delivery(order_ref: str, *, invoice_id: str) -> tuple[bytes, dict[str, str]]:
    body = {
        "invoice_id": invoice_id,
        "order_id": f"sub_{order_ref}",
        "status": "success",
        "pay_time": "2026-10-23T12:00:00Z",
        "amount": 6.99,
        "custom_fields": {},
    }
    raw = json.dumps(body).encode()
    signature = hmac.new(b"live_lava_secret", raw, hashlib.sha256).hexdigest()
    return raw, {"Content-Type": "application/json", "X-Lava-Signature": signature}
