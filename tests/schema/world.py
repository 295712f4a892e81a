"""Rows made by raw SQL, past every check that code makes: what is refused here, the database refuses."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count

import pytest
from django.db import IntegrityError, connection, transaction

from payflow.core.ids import uuid7

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)

#: What a row has unless the test says otherwise; the keys of other rows are made on the way.
DEFAULTS = {
    "users": {
        "password": "!",
        "is_superuser": False,
        "name": "",
        "timezone": "UTC",
        "is_active": True,
        "is_staff": False,
    },
    "plans": {
        "name": "Basic",
        "price": "10.00",
        "currency": "USD",
        "billing_cycle": "monthly",
        "billing_interval": 1,
        "trial_days": 0,
        "features": "{}",
        "family": "main",
        "is_active": True,
        "sort_order": 0,
    },
    "subscriptions": {
        "family": "main",
        "status": "active",
        "start_date": AT,
        "end_date": "2026-02-28T10:00Z",
        "anchor": AT,
        "timezone": "UTC",
        "auto_renew": True,
        "amount": "10.00",
        "currency": "USD",
        "billing_cycle": "monthly",
        "billing_interval": 1,
        "dunning_step": 0,
        "next_action_at": "2026-02-28T10:00Z",
    },
    "billing_periods": {
        "start": AT,
        "end": "2026-02-28T10:00Z",
        "cycle": "monthly",
        "amount": "10.00",
        "currency": "USD",
        "source": "renewal",
    },
    "checkouts": {
        "purpose": "subscribe",
        "provider": "sandbox",
        "amount": "10.00",
        "currency": "USD",
        "trial_days": 0,
        "url": "",
        "success_url": "",
        "cancel_url": "",
        "expires_at": AT,
        "status": "open",
    },
    "invoices": {
        "status": "draft",
        "reason": "manual",
        "currency": "USD",
        "subtotal": "10.00",
        "discount": "0",
        "tax": "0",
        "credit": "0",
        "total": "10.00",
        "merchant_of_record": False,
    },
    "invoice_lines": {
        "position": 1,
        "kind": "plan",
        "description": "Basic",
        "quantity": 1,
        "unit_amount": "10.00",
        "amount": "10.00",
        "currency": "USD",
        "explanation": "{}",
    },
    "payment_transactions": {
        "provider": "sandbox",
        "type": "charge",
        "status": "pending",
        "amount": "10.00",
        "currency": "USD",
        "refunded_amount": "0",
        "attempt": 1,
        "failure_code": "",
        "recoverable": True,
        "reason": "",
        "metadata": "{}",
    },
    "ledger_postings": {"kind": "charge"},
    "ledger_entries": {"account": "revenue", "provider": "", "amount": "10.00", "currency": "USD"},
    "subscription_events": {
        "sequence": 1,
        "from_status": "",
        "to_status": "active",
        "reason": "",
        "actor": "",
        "at": AT,
    },
    "outbox_events": {
        "type": "x",
        "subject_type": "x",
        "subject_id": str(uuid7()),
        "payload": "{}",
        "occurred_at": AT,
    },
    "audit_entries": {"actor": "system", "action": "x", "subject_type": "x", "subject_id": str(uuid7()), "data": "{}"},
    "webhook_events": {
        "provider": "sandbox",
        "body": b"",
        "headers": "{}",
        "status": "received",
        "attempts": 0,
        "error": "",
    },
    "payment_methods": {
        "provider": "sandbox",
        "customer_ref": "",
        "kind": "card",
        "brand": "",
        "last4": "",
        "is_active": True,
    },
    "trial_redemptions": {"family": "main"},
    "provider_links": {"provider": "sandbox"},
    "coupons": {"name": "", "kind": "percent", "percent": 10, "currency": "", "duration": "once", "redemptions": 0}
    | {"first_time_only": False, "is_active": True},
    "coupon_redemptions": {"status": "reserved", "cycles_used": 0},
    "credit_accounts": {"currency": "USD", "balance": "0"},
    "usage_logs": {"action": "book", "quantity": 1, "occurred_at": AT},
    "usage_events": {"request_hash": "", "answer": "{}"},
    "usage_counters": {
        "family": "main",
        "action": "*",
        "window": "day",
        "local_date": "2026-01-31",
        "used": 0,
    },
    "action_prices": {
        "action": "book",
        "currency": "USD",
        "settlement": "invoice",
        "model": "per_unit",
        "included": 0,
        "unit_amount": "1",
        "tiers": "[]",
        "starts_at": AT,
    },
    "usage_meters": {
        "period_start": AT,
        "period_end": "2026-02-28T10:00Z",
        "used": 0,
        "billed": 0,
        "charged": "0",
        "currency": "USD",
    },
    "api_keys": {"name": "backend", "digest": "", "scopes": "[]"},
    "plan_prices": {"currency": "EUR", "amount": "9.00"},
    "plan_provider_refs": {"provider": "sandbox", "currency": ""},
}
UNIQUE = {
    "users": "email",
    "plans": "code",
    "checkouts": "order_ref",
    "coupons": "code",
    "payment_transactions": "idempotency_key",
    "ledger_postings": "key",
    "webhook_events": "event_id",
    "payment_methods": "method_ref",
    "provider_links": "provider_sub_id",
    "usage_events": "event_id",
    "api_keys": "prefix",
    "plan_provider_refs": "ref",
}
PARENTS = {
    "subscriptions": {"user_id": "users", "plan_id": "plans"},
    "billing_periods": {"subscription_id": "subscriptions", "plan_id": "plans"},
    "checkouts": {"user_id": "users"},
    "invoices": {"user_id": "users"},
    "invoice_lines": {"invoice_id": "invoices"},
    "payment_transactions": {"user_id": "users"},
    "ledger_postings": {"user_id": "users"},
    "ledger_entries": {"posting_id": "ledger_postings"},
    "subscription_events": {"subscription_id": "subscriptions"},
    "payment_methods": {"user_id": "users"},
    "trial_redemptions": {"user_id": "users", "subscription_id": "subscriptions"},
    "provider_links": {"subscription_id": "subscriptions"},
    "coupon_redemptions": {"user_id": "users", "subscription_id": "subscriptions", "coupon_id": "coupons"},
    "credit_accounts": {"user_id": "users"},
    "usage_logs": {"user_id": "users"},
    "usage_events": {"user_id": "users"},
    "usage_counters": {"user_id": "users"},
    "action_prices": {"plan_id": "plans"},
    "usage_meters": {"user_id": "users", "price_id": "action_prices"},
    "plan_prices": {"plan_id": "plans"},
    "plan_provider_refs": {"plan_id": "plans"},
}
_numbers = count(1)
#: Their key is made of other columns.
WITHOUT_ID = {"usage_events", "usage_counters"}


def insert(table, **columns):
    """Inserts a row and returns its id. Everything that is not given has a default."""
    row = {} if table in WITHOUT_ID else {"id": uuid7()}
    row |= DEFAULTS[table]
    if table in UNIQUE:
        row[UNIQUE[table]] = (
            f"{table[:8]}-{next(_numbers)}".upper() if table == "coupons" else f"{table[:8]}-{next(_numbers)}"
        )
    for column, parent in PARENTS.get(table, {}).items():
        if column not in columns:
            row[column] = insert(parent)
    row |= columns
    names = ", ".join(f'"{name}"' for name in row)
    execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
    return row.get("id")


def execute(statement, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def update(table, row_id, **columns):
    assignments = ", ".join(f'"{name}" = %s' for name in columns)
    return execute(f"UPDATE {table} SET {assignments} WHERE id = %s", *columns.values(), row_id)


def value(table, row_id, column):
    return execute(f'SELECT "{column}" FROM {table} WHERE id = %s', row_id)[0][0]


@contextmanager
def refused(constraint):
    """The block is refused by this constraint or trigger; the transaction goes on."""
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        yield
    assert refusal.value.__cause__.diag.constraint_name == constraint


@contextmanager
def committed_at_once():
    """Deferred constraints are checked at the end of the block, as at COMMIT."""
    yield
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    execute("SET CONSTRAINTS ALL DEFERRED")
