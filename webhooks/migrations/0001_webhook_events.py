import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="InboundEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("provider", models.CharField(max_length=50)),
                ("event_id", models.CharField(max_length=255)),
                ("body", models.BinaryField()),
                ("headers", models.JSONField(default=dict)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("received", "Received"),
                            ("processed", "Processed"),
                            ("ignored", "Ignored"),
                            ("failed", "Failed"),
                            ("review", "Review"),
                            ("rejected", "Rejected"),
                        ],
                        default="received",
                        max_length=20,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.TextField(blank=True, default="")),
                ("processed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "processed",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(status__in=["processed", "ignored"], then=models.Value(True)),
                            default=models.Value(False),
                        ),
                        output_field=models.BooleanField(),
                    ),
                ),
            ],
            options={
                "db_table": "webhook_events",
                "indexes": [
                    models.Index(fields=["processed"], name="idx_webhook_events_processed"),
                    models.Index(
                        condition=models.Q(("status__in", ["received", "failed"])),
                        fields=["next_attempt_at"],
                        name="idx_webhook_events_due",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["received", "processed", "ignored", "failed", "review", "rejected"])
                        ),
                        name="webhook_events_status",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "rejected"), _negated=True),
                        fields=("provider", "event_id"),
                        name="uniq_webhook_events_delivery",
                    ),
                ],
            },
        ),
    ]
