"""A user who has money, usage or a subscription cannot be deleted, only anonymised."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import models
from django.db.models.deletion import ProtectedError, RestrictedError

from accounts.models import User
from tests.schema.world import committed_at_once, execute, insert, refused

pytestmark = pytest.mark.usefixtures("undone")

KEEPING = [
    "subscriptions",
    "checkouts",
    "trial_redemptions",
    "coupon_redemptions",
    "credit_accounts",
    "payment_methods",
    "invoices",
    "payment_transactions",
    "ledger_postings",
    "usage_logs",
    "usage_events",
    "usage_counters",
    "usage_meters",
]


@pytest.mark.parametrize("table", KEEPING)
def test_by_raw_sql(table):
    user = insert("users")
    parents = {"subscription_id": insert("subscriptions")} if "redemptions" in table else {}
    insert(table, user_id=user, **parents)
    [(constraint,)] = execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND confrelid = 'users'::regclass"
        " AND contype = 'f'",
        table,
    )
    with refused(constraint):
        execute("DELETE FROM users WHERE id = %s", user)
        execute(f'SET CONSTRAINTS "{constraint}" IMMEDIATE')


@pytest.mark.parametrize("table", [table for table in KEEPING if table != "usage_logs"])
def test_by_the_orm(table):
    user = insert("users")
    parents = {"subscription_id": insert("subscriptions")} if "redemptions" in table else {}
    insert(table, user_id=user, **parents)
    with pytest.raises((RestrictedError, ProtectedError)):
        User.objects.get(pk=user).delete()


def test_no_other_table_takes_rows_with_its_user():
    """Every reference to users from an app of ours is listed here, and none cascades, in the database or the ORM."""
    referring = execute(
        "SELECT conrelid::regclass::text, confdeltype FROM pg_constraint c"
        " WHERE contype = 'f' AND confrelid = 'users'::regclass AND conparentid = 0"
    )
    ours = {table: kind for table, kind in referring if not table.startswith(("django_", "token_", "users_"))}
    assert set(ours) == set(KEEPING)
    assert set(ours.values()) <= {"a", "r"}, "NO ACTION or RESTRICT"
    for model in apps.get_models():
        if model._meta.db_table in KEEPING:
            [field] = [f for f in model._meta.fields if isinstance(f, models.ForeignKey) and f.related_model is User]
            allowed = (
                {models.RESTRICT, models.DO_NOTHING} if model._meta.db_table == "usage_logs" else {models.RESTRICT}
            )
            assert field.remote_field.on_delete in allowed, model


def test_a_user_with_nothing_may_go():
    user = insert("users")
    with committed_at_once():
        execute("DELETE FROM users WHERE id = %s", user)
    assert execute("SELECT count(*) FROM users WHERE id = %s", user) == [(0,)]
