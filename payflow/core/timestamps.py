"""PostgreSQL's timestamptz, read by `datetime.fromisoformat`: a row of ours has up to ten of them.

Django needs a loader that knows its zone, so psycopg's compiled one cannot be used, and the other reads by a regular
expression: ten times as slow.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import BaseTzLoader
from django.db.backends.signals import connection_created


class UtcLoader(BaseTzLoader):  # type: ignore[misc]
    """Moments in UTC. A connection of another zone gets Django's own loader, which asks this one for its `timezone`."""

    timezone = UTC

    def load(self, data: Any) -> datetime:
        try:
            return datetime.fromisoformat(str(data, "ascii")).astimezone(UTC)
        except ValueError:
            # Infinity, a year before 1 or after 9999, another DateStyle: the error is psycopg's.
            moment: datetime = super().load(data)
            return moment


def _register(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    connection.connection.adapters.register_loader("timestamptz", UtcLoader)


connection_created.connect(_register, dispatch_uid=__name__)
