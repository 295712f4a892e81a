"""Emptying the test database after a transactional test, in milliseconds instead of Django's flush.

Django truncates every table and makes permissions and roles anew, which costs some 300 ms a test here. Rows are deleted where
there are any instead, with triggers and foreign keys off (append-only tables refuse a DELETE), and what migrations and
`post_migrate` made is kept. Needs a superuser, as ./test has; elsewhere Django's own flush is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection, connections
from django.test import TransactionTestCase

KEPT = frozenset(
    {"django_migrations", "django_content_type", "auth_permission", "auth_group", "auth_group_permissions"}
)
TABLES = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""


def install() -> None:
    """Replaces the teardown of transactional tests."""
    django_teardown: Callable[[Any], None] = TransactionTestCase._fixture_teardown

    def teardown(self: Any) -> None:
        if _is_superuser():
            empty_tables()
        else:
            django_teardown(self)

    TransactionTestCase._fixture_teardown = teardown


def template_name() -> str:
    """The test database, with nobody connected to it: PostgreSQL copies no other."""
    name: str = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )
    connections.close_all()
    return name


def empty_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        names = sorted({name for (name,) in cursor.fetchall()} - KEPT)
        cursor.execute(" UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in names))
        filled = [name for (name,) in cursor.fetchall()]
        if filled:
            deletes = "".join(f"DELETE FROM {name};" for name in filled)
            cursor.execute(f"SET session_replication_role = replica; {deletes} SET session_replication_role = origin")


def _is_superuser() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        return bool(cursor.fetchone()[0])
