"""The partitioned usage log, its event keys, its counters, and the function by which a statement refuses itself."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import payflow.core.ids
from payflow.core import clock
from usage.partitions import partitions_ensure

USAGE_LOGS = """
CREATE TABLE usage_logs (
    id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE RESTRICT,
    subscription_id uuid REFERENCES subscriptions (id) ON DELETE SET NULL,
    action varchar(50) NOT NULL,
    content_id varchar(255),
    quantity integer NOT NULL DEFAULT 1 CHECK (quantity > 0),
    event_id varchar(255),
    metadata jsonb,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX idx_usage_logs_user_id ON usage_logs (user_id, created_at DESC);
CREATE INDEX idx_usage_logs_created_at ON usage_logs (created_at);
CREATE TABLE usage_logs_default PARTITION OF usage_logs DEFAULT;
"""

#: Raised from inside the statement that counts, so that a refusal leaves nothing behind.
REFUSE = """
CREATE FUNCTION usage_limit_exceeded(action text, usage_window text, used bigint, max bigint) RETURNS boolean AS $$
BEGIN
    RAISE EXCEPTION 'usage limit exceeded' USING
        ERRCODE = 'PF429',
        DETAIL = json_build_object('action', action, 'window', usage_window, 'used', used, 'limit', max)::text;
END;
$$ LANGUAGE plpgsql VOLATILE;
"""


def make_partitions(apps, schema_editor):
    partitions_ensure(now=clock.wall())


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("subscriptions", "0001_subscriptions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="UsageEvent",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "user_id", "event_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("event_id", models.CharField(max_length=255)),
                ("request_hash", models.CharField(max_length=64)),
                ("answer", models.JSONField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "usage_events",
            },
        ),
        migrations.CreateModel(
            name="UsageCounter",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "user_id",
                        "family",
                        "action",
                        "window",
                        "local_date",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("family", models.CharField(max_length=50)),
                ("action", models.CharField(max_length=50)),
                (
                    "window",
                    models.CharField(
                        choices=[("day", "Day"), ("month", "Month"), ("all", "All"), ("period", "Period")],
                        max_length=10,
                    ),
                ),
                ("local_date", models.DateField()),
                ("used", models.BigIntegerField(default=0)),
                ("billed", models.BigIntegerField(default=0)),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="usage_counters",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "usage_counters",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("window__in", ["day", "month", "all", "period"])),
                        name="usage_counters_window",
                    )
                ],
            },
        ),
        # Partitioned from its first day, which the ORM cannot say: its state here, its SQL below.
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(USAGE_LOGS, "DROP TABLE usage_logs")],
            state_operations=[
                migrations.CreateModel(
                    name="UsageLog",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("action", models.CharField(max_length=50)),
                        ("content_id", models.CharField(blank=True, max_length=255, null=True)),
                        ("quantity", models.PositiveIntegerField(default=1)),
                        ("event_id", models.CharField(blank=True, max_length=255, null=True)),
                        ("metadata", models.JSONField(blank=True, null=True)),
                        ("occurred_at", models.DateTimeField()),
                        (
                            "created_at",
                            models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                        ),
                        (
                            "subscription",
                            models.ForeignKey(
                                blank=True,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="usage_logs",
                                to="subscriptions.subscription",
                            ),
                        ),
                        (
                            "user",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="usage_logs",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                    ],
                    options={
                        "db_table": "usage_logs",
                        "indexes": [
                            models.Index(fields=["user", "-created_at"], name="idx_usage_logs_user_id"),
                            models.Index(fields=["created_at"], name="idx_usage_logs_created_at"),
                        ],
                    },
                ),
            ],
        ),
        migrations.RunPython(make_partitions, migrations.RunPython.noop),
        migrations.RunSQL(REFUSE, "DROP FUNCTION usage_limit_exceeded(text, text, bigint, bigint)"),
    ]
