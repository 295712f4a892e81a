"""Writing many rows in one statement, where the ORM would send one for each or spell out every value in SQL.

Inserts go by COPY, updates by one array per column: the cost of a row is that of its values. A column that is the same in
all rows of an update goes once.
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
    columns = _columns(type(rows[0]), tuple(fields))
    arrays = [_array(rows, column) for column in columns]
    shared = tuple(_is_one(array) for array in arrays[1:])
    with connection.cursor() as cursor:
        cursor.execute(
            _update(type(rows[0]), columns, shared),
            # In the statement's order: what is shared stands in SET, the arrays follow in FROM.
            [
                *(array[0] for array, once in zip(arrays[1:], shared, strict=True) if once),
                arrays[0],
                *(array for array, once in zip(arrays[1:], shared, strict=True) if not once),
            ],
        )


@cache
def _copy(model: type[models.Model], fields: tuple[str, ...]) -> tuple[str, tuple[int, ...]]:
    """The statement, and the positions of values that are written as JSON."""
    by_name: dict[str, Any] = {field.attname: field for field in model._meta.concrete_fields}
    columns = ", ".join(_quoted(by_name[name].column) for name in fields)
    encoded = tuple(i for i, name in enumerate(fields) if isinstance(by_name[name], models.JSONField))
    return f"COPY {_quoted(model._meta.db_table)} ({columns}) FROM STDIN", encoded


@cache
def _columns(model: type[models.Model], fields: tuple[str, ...]) -> tuple[Any, ...]:
    """The key's and those of `fields`."""
    meta: Any = model._meta
    return (meta.pk, *(meta.get_field(name) for name in fields))


@cache
def _update(model: type[models.Model], columns: tuple[Any, ...], shared: tuple[bool, ...]) -> str:
    """Takes the values that are `shared`, by column after the key, then the arrays of the key and of the others."""
    key, *others = columns
    given = list(zip(others, shared, strict=True))
    changes = ", ".join(
        f"{_quoted(column.column)} = {f'%s::{_type(column)}' if once else f'v.{_quoted(column.column)}'}"
        for column, once in given
    )
    listed = [key, *(column for column, once in given if not once)]
    arrays = ", ".join(f"%s::{_type(column)}[]" for column in listed)
    names = ", ".join(_quoted(column.column) for column in listed)
    return (
        f"UPDATE {_quoted(model._meta.db_table)} AS t SET {changes}"  # noqa: S608
        f" FROM unnest({arrays}) AS v({names}) WHERE t.{_quoted(key.column)} = v.{_quoted(key.column)}"
    )


def _is_one(values: Sequence[Any]) -> bool:
    # The ends first: keys, all different and dear to compare, are known by them.
    return bool(values[0] == values[-1] and values.count(values[0]) == len(values))


def _array(rows: Sequence[models.Model], column: Any) -> list[Any]:
    values = list(map(attrgetter(column.attname), rows))
    if isinstance(column, models.JSONField):
        return [None if value is None else json.dumps(value) for value in values]
    return values


def _type(column: Any) -> str:
    return str(column.rel_db_type(connection) if column.is_relation else column.db_type(connection))


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
