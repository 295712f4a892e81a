"""Writing many rows in one statement, where the ORM would send one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, models


def rows_update(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """UPDATEs `fields` of all rows, by their keys, in one statement. The caller holds their locks.

    One array per column, whatever the number of rows: bulk_update would write a CASE with a branch per row and field.
    """
    if not rows:
        return
    meta: Any = rows[0]._meta
    key, columns = meta.pk, [meta.get_field(name) for name in fields]
    arrays = [_array(rows, column) for column in (key, *columns)]
    names = [_quoted(column.column) for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_quoted(meta.db_table)} AS t SET {', '.join(f'{name} = v.{name}' for name in names)}"  # noqa: S608
            f" FROM unnest({', '.join(f'%s::{_type(column)}[]' for column in (key, *columns))})"
            f" AS v({', '.join([_quoted(key.column), *names])}) WHERE t.{_quoted(key.column)} = v.{_quoted(key.column)}",
            arrays,
        )


def _array(rows: Sequence[models.Model], column: Any) -> list[Any]:
    return [column.get_db_prep_save(getattr(row, column.attname), connection) for row in rows]


def _type(column: Any) -> str:
    return str(column.rel_db_type(connection) if column.is_relation else column.db_type(connection))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
