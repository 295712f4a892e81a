"""A world kept as it is, and put back: to tell a story anew for each death would cost more than the death."""

from __future__ import annotations

from django.db import connection

from tests.database import KEPT, TABLES, empty_tables

SCHEMA = "kept_world"
#: Generated columns are not written, and follow from the others.
_COLUMNS = """
    SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'
"""


def world_keep() -> None:
    """Copies every row there is."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
        cursor.execute(TABLES)
        for name in sorted({name for (name,) in cursor.fetchall()} - KEPT):
            cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {name})")
            if cursor.fetchone() == (True,):
                cursor.execute(_COLUMNS, [name])
                [(columns,)] = cursor.fetchall()
                cursor.execute(f"CREATE TABLE {SCHEMA}.{name} AS SELECT {columns} FROM {name}")


def world_restore() -> None:
    """Those rows and no others, but for the clock's: business time stands where nobody has moved it."""
    empty_tables()
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", [SCHEMA])
        inserts = []
        for (name,) in cursor.fetchall():
            if name == "clock_offset":
                continue
            cursor.execute(_COLUMNS, [name])
            [(columns,)] = cursor.fetchall()
            inserts.append(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {SCHEMA}.{name};")
        # As a copy of the database would have them: no trigger has anything to say to them.
        cursor.execute(
            f"SET session_replication_role = replica; {''.join(inserts)} SET session_replication_role = origin"
        )


def world_forget() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
