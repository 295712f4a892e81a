"""Writing many rows in one statement, where the ORM would send one for each or spell out every value in SQL.

Inserts go by COPY, updates by one array per column: the cost of a row is that of its values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from django.db import connection, models
from django.db.models.expressions import DatabaseDefault

T = TypeVar("T")


def batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The rows in their order, at most `size` at once. (`itertools.batched` came after Python 3.11.)"""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def rows_insert(rows: Sequence[models.Model]) -> None:
    """INSERTs new rows of one model, with their keys, in one statement. Raises IntegrityError, as the ORM does.

    A column that the first row leaves to the database is left to it for all.
    """
    if not rows:
        return
    model = type(rows[0])
    fields = tuple(
        field.attname
        for field in model._meta.concrete_fields
        if not isinstance(getattr(rows[0], field.attname), DatabaseDefault)
    )
    values: Callable[[models.Model], tuple[Any, ...]] = attrgetter(*fields)
    tuples_insert(model, fields, map(values, rows))
    for row in rows:
        row._state.adding = False
        row._state.db = connection.alias


def tuples_insert(model: type[models.Model], fields: tuple[str, ...], tuples: Iterable[tuple[Any, ...]]) -> None:
    """INSERTs one row for each tuple of values of `fields` (attribute names); other columns get the database's default."""
    statement, encoded = _copy(model, fields)
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        write = copy.write_row
        if not encoded:
            for values in tuples:
                write(values)
            return
        for values in tuples:
            row = list(values)
            for position in encoded:
                if row[position] is not None:
                    row[position] = json.dumps(row[position])
            write(row)


def rows_update(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """UPDATEs `fields` of all rows, by their keys, in one statement. The caller holds their locks."""
    if not rows:
        return
    statement, columns = _update(type(rows[0]), tuple(fields))
    with connection.cursor() as cursor:
        cursor.execute(statement, [_array(rows, column) for column in columns])


@cache
def _copy(model: type[models.Model], fields: tuple[str, ...]) -> tuple[str, tuple[int, ...]]:
    """The statement, and the positions of values that are written as JSON."""
    by_name: dict[str, Any] = {field.attname: field for field in model._meta.concrete_fields}
    columns = ", ".join(_quoted(by_name[name].column) for name in fields)
    encoded = tuple(i for i, name in enumerate(fields) if isinstance(by_name[name], models.JSONField))
    return f"COPY {_quoted(model._meta.db_table)} ({columns}) FROM STDIN", encoded


@cache
def _update(model: type[models.Model], fields: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    meta: Any = model._meta
    columns = (meta.pk, *(meta.get_field(name) for name in fields))
    key, *names = (_quoted(column.column) for column in columns)
    arrays = ", ".join(f"%s::{_type(column)}[]" for column in columns)
    statement = (
        f"UPDATE {_quoted(meta.db_table)} AS t SET {', '.join(f'{name} = v.{name}' for name in names)}"  # noqa: S608
        f" FROM unnest({arrays}) AS v({', '.join([key, *names])}) WHERE t.{key} = v.{key}"
    )
    return statement, columns


def _array(rows: Sequence[models.Model], column: Any) -> list[Any]:
    values = list(map(attrgetter(column.attname), rows))
    if isinstance(column, models.JSONField):
        return [None if value is None else json.dumps(value) for value in values]
    return values


def _type(column: Any) -> str:
    return str(column.rel_db_type(connection) if column.is_relation else column.db_type(connection))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
