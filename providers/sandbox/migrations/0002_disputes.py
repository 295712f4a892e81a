"""Payments can be disputed: a table of disputes, taken back by dropping it."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("sandbox", "0001_sandbox_tables"),
    ]

    operations = [
        migrations.CreateModel(
            name="SandboxDispute",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("account", models.CharField(max_length=40)),
                ("idempotency_key", models.CharField(max_length=255)),
                ("request_hash", models.CharField(max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "Open"), ("lost", "Lost"), ("won", "Won")], default="open", max_length=20
                    ),
                ),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("reason", models.CharField(blank=True, max_length=255)),
                ("hook_url", models.CharField(blank=True, max_length=2000)),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="disputes",
                        to="sandbox.sandboxpayment",
                    ),
                ),
            ],
            options={
                "db_table": "sandbox_disputes",
                "constraints": [
                    models.UniqueConstraint(fields=("account", "idempotency_key"), name="uniq_sandbox_dispute_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "won"), _negated=True),
                        fields=("payment",),
                        name="uniq_sandbox_dispute_payment",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["open", "lost", "won"])), name="sandbox_disputes_status"
                    ),
                    models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="sandbox_disputes_amount"),
                ],
            },
        ),
    ]
