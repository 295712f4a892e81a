"""Row locks, always evaluated and always in one order.

FOR NO KEY UPDATE: it excludes every other writer of the row, and lets others insert rows that refer to it. FOR UPDATE would
make each INSERT with a foreign key to a locked user wait, against the lock order.

Lock order, everywhere: user, subscription, coupon, invoice, transaction, credit account, number counter. Within one table
rows are locked in the order of their keys, so that two callers cannot wait for each other.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connection, models, transaction

M = TypeVar("M", bound=models.Model)


def lock_rows(queryset: models.QuerySet[M]) -> list[M]:
    """The rows of `queryset`, read under FOR NO KEY UPDATE in key order. Raises TransactionManagementError outside atomic."""
    return list(queryset.select_for_update(of=("self",), no_key=True).order_by("pk"))


def lock_keys(queryset: models.QuerySet[M]) -> list[Any]:
    """The keys of the rows of `queryset`, locked as by `lock_rows`: for who reads them, or not, later on."""
    return list(queryset.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))


def claim_rows(queryset: models.QuerySet[M], *, limit: int) -> list[M]:
    """At most `limit` rows that nobody else holds, locked (SKIP LOCKED), in the queryset's own order."""
    return list(queryset.select_for_update(of=("self",), no_key=True, skip_locked=True)[:limit])


def assert_no_transaction(what: str) -> None:
    """Raises RuntimeError inside a transaction: no network while locks are held."""
    if transaction.get_connection().in_atomic_block:
        raise RuntimeError(f"{what} inside a database transaction: commit the intent first")


def advisory_lock(name: str) -> None:
    """Serialises callers of one name until the end of their transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
