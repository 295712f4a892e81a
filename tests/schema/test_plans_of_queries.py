"""The sweep of due subscriptions reads what is due and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core import clock
from subscriptions.selectors import next_due
from subscriptions.services.due import due_sweep
from tests.schema.world import execute, insert

INDEX = "idx_subscriptions_next_action"


@pytest.fixture
def crowd(db):
    """20,000 subscriptions, due one a minute from a week ahead on; none is due now."""
    plan, now = insert("plans"), clock.now()
    execute(
        "INSERT INTO users (id, password, is_superuser, email, name, timezone, is_active, is_staff)"
        " SELECT gen_random_uuid(), '!', false, 'crowd' || n || '@example.com', '', 'UTC', true, false"
        " FROM generate_series(1, 20000) AS n"
    )
    execute(
        "INSERT INTO subscriptions (id, user_id, plan_id, family, status, start_date, end_date, anchor, timezone, auto_renew,"
        " amount, currency, billing_cycle, billing_interval, dunning_step, next_action_at)"
        " SELECT gen_random_uuid(), id, %s, 'main', 'active', %s, due, %s, 'UTC', true, 10, 'USD', 'monthly', 1, 0, due"
        " FROM (SELECT id, %s + row_number() OVER () * interval '1 minute' AS due FROM users"
        " WHERE email LIKE 'crowd%%') AS u",
        plan,
        now,
        now,
        now + timedelta(days=7),
    )
    execute("ANALYZE subscriptions")
    return now


def _plan_of(sql):
    [(plan,)] = execute("EXPLAIN (FORMAT JSON) " + sql.replace("%", "%%"))
    return plan[0]["Plan"]


def _nodes(node):
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


@pytest.mark.parametrize("call", ["sweep", "next_due"])
def test_with_20000_subscriptions_the_due_ones_are_found_by_index(crowd, call):
    with CaptureQueriesContext(connection) as queries:
        if call == "sweep":
            assert due_sweep(now=crowd, wall=crowd) == 0
        else:
            assert next_due(crowd) > crowd + timedelta(days=7)
    [query] = [entry["sql"] for entry in queries if "next_action_at" in entry["sql"]]
    assert ("SKIP LOCKED" in query) is (call == "sweep")
    nodes = _nodes(_plan_of(query))
    reading = [node for node in nodes if "subscriptions" in (node.get("Relation Name") or node.get("Index Name") or "")]
    assert INDEX in {node.get("Index Name") for node in reading}
    assert "Seq Scan" not in {node["Node Type"] for node in reading}
