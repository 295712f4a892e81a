"""Every migration of ours can be taken back, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from tests.database import template_name

#: Runs in a process of its own, on a copy of the test's database: back to nothing and forward again.
ROUND_TRIP = """
import re

import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = {name!r}
settings.LOGGING_CONFIG = None
django.setup()
from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

OURS = {{app.label for app in apps.get_app_configs()
        if app.path.startswith(str(settings.BASE_DIR) + "/") and "site-packages" not in app.path}}

def migrate(back=False):
    executor = MigrationExecutor(connection)
    graph = executor.loader.graph
    executor.migrate([(label, None) for label in sorted(executor.loader.migrated_apps & OURS)] if back else graph.leaf_nodes())

def made():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 'relation ' || relname FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','p','S') AND NOT relispartition"
            " UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'type ' || typname FROM pg_type"
            " WHERE typnamespace = 'public'::regnamespace AND typtype = 'r'"
            " UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " UNION ALL SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE NOT tgisinternal")
        # Partitions are made as time goes on: another test of this process may have lived years.
        return {{row[0] for row in cursor.fetchall() if not re.search(r"usage_logs_\\d{{4}}_\\d\\d", row[0])}}

before = made()
migrate(back=True)
print("KEPT", sorted(name for name in made() if name.split()[0] in ("relation", "function", "type")
                     and not name.split()[1].startswith(("django_", "auth_"))))
migrate()
print("DIFFERENT", sorted(before ^ made()))
"""


@pytest.fixture
def scratch(django_db_setup, django_db_blocker):
    """A copy of the test's database. Copying wants nobody connected to it, and no transaction."""
    with django_db_blocker.unblock():
        original = template_name()
        outside = connection.copy("scratch")
        outside.settings_dict["NAME"] = "postgres"
        name = f"{original}_scratch"
        try:
            with outside.cursor() as cursor:
                cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
                cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{original}"')
            yield name
            with outside.cursor() as cursor:
                cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            outside.close()


def test_migrations_go_back_to_nothing_and_forward_again(scratch):
    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP.format(name=scratch)],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "payflow.settings.test"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["KEPT []", "DIFFERENT []"]


def test_no_migration_is_missing(db):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
