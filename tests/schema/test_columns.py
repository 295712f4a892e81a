"""Every table and index of the documents is there under its name; `docs/spec.md` explains what differs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

from tests.schema.world import execute

pytestmark = pytest.mark.django_db

#: Column by column from both documents (`subscription_plans` = plans, `transactions` = payment_transactions).
DOCUMENTS = {
    "users": {"id": "uuid"},
    "plans": {
        "id": "uuid",
        "name": "character varying(100)",
        "description": "text",
        "price": "numeric(19,4)",
        "currency": "character varying(3)",
        "billing_cycle": "character varying(20)",
        "features": "jsonb",
        "max_usage_per_day": "integer",
        "max_usage_per_month": "integer",
        "is_active": "boolean",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
    },
    "subscriptions": {
        "id": "uuid",
        "user_id": "uuid",
        "plan_id": "uuid",
        "status": "character varying(20)",
        "start_date": "timestamp with time zone",
        "end_date": "timestamp with time zone",
        "auto_renew": "boolean",
        "payment_method_id": "uuid",
        "amount": "numeric(19,4)",
        "currency": "character varying(3)",
        "provider": "character varying(50)",
        "provider_sub_id": "character varying(2000)",
        "trial_ends_at": "timestamp with time zone",
        "cancelled_at": "timestamp with time zone",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
    },
    "payment_transactions": {
        "id": "uuid",
        "subscription_id": "uuid",
        "user_id": "uuid",
        "amount": "numeric(19,4)",
        "currency": "character varying(3)",
        "status": "character varying(20)",
        "payment_method": "character varying(50)",
        "provider": "character varying(50)",
        "provider_txn_id": "character varying(255)",
        "type": "character varying(20)",
        "gateway_response": "jsonb",
        "metadata": "jsonb",
        "created_at": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
    },
    "usage_logs": {
        "id": "uuid",
        "user_id": "uuid",
        "subscription_id": "uuid",
        "action": "character varying(50)",
        "content_id": "character varying(255)",
        "metadata": "jsonb",
        "created_at": "timestamp with time zone",
    },
    "webhook_events": {"id": "uuid", "processed": "boolean", "created_at": "timestamp with time zone"},
}
INDEXES = {
    "idx_subscriptions_user_id": "subscriptions USING btree (user_id)",
    "idx_subscriptions_status": "subscriptions USING btree (status)",
    "idx_subscriptions_end_date": "subscriptions USING btree (end_date)",
    "idx_provider_sub_id": "subscriptions USING btree (provider_sub_id)",
    "idx_payment_transactions_user_id": "payment_transactions USING btree (user_id, created_at DESC)",
    "idx_payment_transactions_status": "payment_transactions USING btree (status)",
    "idx_subscription_id": "payment_transactions USING btree (subscription_id, created_at DESC)",
    "idx_usage_logs_user_id": "usage_logs USING btree (user_id, created_at DESC)",
    "idx_usage_logs_created_at": "usage_logs USING btree (created_at)",
    "idx_webhook_events_processed": "webhook_events USING btree (processed)",
}
#: Beyond the documents': what an unfinished row's sweep finds by.
NULLABLE = {
    "subscriptions": {"end_date", "payment_method_id", "provider", "provider_sub_id", "trial_ends_at", "cancelled_at"},
    "payment_transactions": {"subscription_id", "payment_method", "provider_txn_id", "gateway_response"},
    "plans": {"description", "max_usage_per_day", "max_usage_per_month"},
    "usage_logs": {"subscription_id", "content_id", "metadata"},
}


def _columns(table):
    rows = execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        table,
    )
    return {name: (kind, not_null) for name, kind, not_null in rows}


@pytest.mark.parametrize("table", DOCUMENTS)
def test_the_documents_columns(table):
    columns = _columns(table)
    assert {name: columns.get(name, ("missing",))[0] for name in DOCUMENTS[table]} == DOCUMENTS[table]


@pytest.mark.parametrize("table", NULLABLE)
def test_what_may_be_unknown(table):
    columns = _columns(table)
    assert {name for name in DOCUMENTS[table] if not columns[name][1]} == NULLABLE[table]


def test_the_documents_indexes():
    rows = execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    found = {
        name: definition.replace("ON ONLY public.", "ON public.").partition("ON public.")[2]
        for name, definition in rows
    }
    assert {name: found.get(name) for name in INDEXES} == INDEXES


def test_money_is_numeric_and_never_floating():
    rows = execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type IN ('real', 'double precision', 'money')"
        " AND table_name NOT LIKE 'django%%' AND table_name NOT LIKE 'auth%%'"
    )
    assert rows == []


def test_every_moment_has_its_zone():
    rows = execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'timestamp without time zone'"
    )
    assert rows == []


def test_created_at_is_given_by_the_database():
    without = execute(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND column_name IN ('created_at', 'updated_at') AND (column_default IS NULL OR is_nullable = 'YES')"
        " AND table_name NOT LIKE 'token_blacklist%%'"
    )
    assert without == []


def test_no_extension_is_needed():
    assert execute("SELECT extname FROM pg_extension") == [("plpgsql",)]
    texts = {
        path: path.read_text()
        for path in Path(settings.BASE_DIR).glob("*/**/migrations/*.py")
        if ".venv" not in path.parts
    }
    assert len(texts) > 10
    asking = [str(path) for path, text in texts.items() if re.search(r"(?i)create\s+extension|Extension\(", text)]
    assert asking == []
