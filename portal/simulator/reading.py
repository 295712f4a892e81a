"""How invariants read: one statement that answers lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection


def rows(sql: str, params: Mapping[str, Any] | Sequence[Any]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [line for (line,) in cursor.fetchall()]
