from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from payflow.core.models import IdempotencyKey
from payflow.core.sets import rows_insert, rows_update
from plans.models import Plan

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = AT + timedelta(microseconds=1)
#: One value for all rows, one for each, or the same for some of them.
COLUMNS: list[tuple[str, list[Any]]] = [
    ("request_hash", ["after", "after", "after"]),
    ("request_hash", ["after", "else", "after"]),
    ("request_hash", ["it's", "it's", 'a "quote", {brace} and back\\slash']),
    ("response_status", [200, 200, 200]),
    ("response_status", [None, None, None]),
    ("response_status", [200, None, 200]),
    ("response_status", [None, 404, None]),
    ("expires_at", [LATER, AT, LATER]),
    ("expires_at", [LATER, LATER, LATER]),
]


def keys() -> list[IdempotencyKey]:
    """In the order of their keys; the last one is nobody's to update."""
    rows = [
        IdempotencyKey(
            principal="user", key=str(n), request_hash="before", claimed_at=AT, expires_at=AT, response_status=500 + n
        )
        for n in range(4)
    ]
    rows_insert(rows)
    return rows


def stored(name: str) -> list[Any]:
    return list(IdempotencyKey.objects.order_by("pk").values_list(name, flat=True))


@pytest.mark.parametrize(("name", "values"), COLUMNS)
def test_each_row_gets_its_own_value_and_no_other_row_any(name, values):
    *rows, other = keys()
    for row, value in zip(rows, values, strict=True):
        setattr(row, name, value)
    rows_update(rows, [name, "claimed_at"])
    assert stored(name) == [*values, getattr(other, name)]


def test_columns_of_both_kinds_do_not_change_places():
    *rows, _ = keys()
    for number, row in enumerate(rows):
        row.request_hash, row.principal, row.response_body = f"hash {number}", "service", f"body {number}"
    rows_update(rows, ["request_hash", "principal", "response_body"])
    assert stored("request_hash") == ["hash 0", "hash 1", "hash 2", "before"]
    assert stored("principal") == ["service", "service", "service", "user"]
    assert stored("response_body") == ["body 0", "body 1", "body 2", None]


def test_one_row_is_updated_alone():
    row, *others = keys()
    row.request_hash = "after"
    rows_update([row], ["request_hash"])
    assert stored("request_hash") == ["after", *["before"] * len(others)]


def test_json_is_compared_as_it_is_written():
    """In Python 1, 1.0 and True are one value; in JSON they are three."""
    plans = [
        Plan.objects.create(
            code=f"plan-{n}", name="Plan", price=1, currency="USD", billing_cycle="monthly", created_at=AT
        )
        for n in range(3)
    ]
    for plan, value in zip(plans, (1, True, 1), strict=True):
        plan.features = {"value": value}
    rows_update(plans, ["features"])
    assert [json.dumps(Plan.objects.get(pk=plan.pk).features) for plan in plans] == [
        '{"value": 1}',
        '{"value": true}',
        '{"value": 1}',
    ]
