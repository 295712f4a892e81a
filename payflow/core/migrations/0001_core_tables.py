"""The core's tables, and the functions that the triggers and checks of every app call."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.ids
from payflow.core import sql


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL(sql.UPDATED_AT_FUNCTION, "DROP FUNCTION update_updated_at_column()"),
        migrations.RunSQL(sql.FITS_CURRENCY_FUNCTION, "DROP FUNCTION fits_currency(numeric, text)"),
        migrations.RunSQL(sql.TRANSITION_FUNCTION, "DROP FUNCTION refuse_unknown_transition()"),
        migrations.RunSQL(sql.APPEND_ONLY_FUNCTION, "DROP FUNCTION refuse_change()"),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("actor", models.CharField(max_length=120)),
                ("action", models.CharField(max_length=80)),
                ("subject_type", models.CharField(max_length=40)),
                ("subject_id", models.UUIDField()),
                ("data", models.JSONField(default=dict)),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "db_table": "audit_entries",
                "indexes": [
                    models.Index(fields=["subject_type", "subject_id", "created_at"], name="idx_audit_subject")
                ],
            },
        ),
        migrations.CreateModel(
            name="ClockOffset",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("ahead", models.DurationField()),
            ],
            options={
                "db_table": "clock_offset",
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="clock_offset_single_row")],
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("principal", models.CharField(max_length=80)),
                ("key", models.CharField(max_length=255)),
                ("request_hash", models.CharField(max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[("in_flight", "In Flight"), ("done", "Done")], default="in_flight", max_length=20
                    ),
                ),
                ("claimed_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True)),
                ("response_status", models.PositiveSmallIntegerField(null=True)),
                ("response_body", models.TextField(null=True)),
            ],
            options={
                "db_table": "idempotency_keys",
                "constraints": [
                    models.UniqueConstraint(fields=("principal", "key"), name="uniq_idempotency_key"),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["in_flight", "done"])), name="idempotency_keys_status"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OutboxEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("type", models.CharField(max_length=80)),
                ("subject_type", models.CharField(max_length=40)),
                ("subject_id", models.UUIDField()),
                ("payload", models.JSONField(default=dict)),
                ("occurred_at", models.DateTimeField()),
            ],
            options={
                "db_table": "outbox_events",
                "indexes": [
                    models.Index(fields=["subject_type", "subject_id", "created_at"], name="idx_outbox_subject")
                ],
            },
        ),
        migrations.CreateModel(
            name="OutboxHandling",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("handler", models.CharField(max_length=80)),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("done", "Done"), ("failed", "Failed")],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField()),
                ("error", models.TextField(blank=True, default="")),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="handlings", to="core.outboxevent"
                    ),
                ),
            ],
            options={
                "db_table": "outbox_handlings",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")), fields=["next_attempt_at"], name="idx_outbox_pending"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("event", "handler"), name="uniq_outbox_handling"),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "done", "failed"])),
                        name="outbox_handlings_status",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            sql.append_only_trigger("audit_entries"), sql.drop_trigger("audit_entries", "audit_entries_append_only")
        ),
        migrations.RunSQL(
            sql.append_only_trigger("outbox_events"), sql.drop_trigger("outbox_events", "outbox_events_append_only")
        ),
    ]
