"""Commands to providers, drifts between their state and ours, and how far their lists have been read."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import payflow.core.ids
from payflow.core import sql

COMMANDS = {"pending": ["confirmed", "refused", "withdrawn"]}


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0005_checks_by_statement"),
        ("plans", "0004_coupon_triggers"),
        ("core", "0001_core_tables"),
        ("subscriptions", "0006_change_pages"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ProviderCommand",
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
                ("provider_sub_id", models.CharField(max_length=255)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("cancel", "cancel at the period's end"),
                            ("cancel_now", "Cancel Now"),
                            ("resume", "Resume"),
                            ("pause", "Pause"),
                            ("change", "Change"),
                            ("acknowledge", "Acknowledge"),
                        ],
                        max_length=20,
                    ),
                ),
                ("arguments", models.JSONField(blank=True, default=dict)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("confirmed", "Confirmed"),
                            ("refused", "Refused"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("actor", models.CharField(max_length=120)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True)),
                ("deadline", models.DateTimeField(blank=True, null=True)),
                ("alarmed_at", models.DateTimeField(blank=True, null=True)),
                ("confirmed_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "db_table": "provider_commands",
            },
        ),
        migrations.CreateModel(
            name="ProviderDrift",
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
                ("ours", models.JSONField()),
                ("theirs", models.JSONField()),
                ("seen_at", models.DateTimeField(help_text="when it was last found")),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                (
                    "resolution",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("agrees", "they agree again"),
                            ("theirs", "the provider's state was adopted"),
                            ("ours", "the provider was told"),
                        ],
                        default="",
                        max_length=20,
                    ),
                ),
                ("actor", models.CharField(blank=True, default="", max_length=120)),
            ],
            options={
                "db_table": "provider_drifts",
            },
        ),
        migrations.CreateModel(
            name="ProviderFeed",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("provider", models.CharField(max_length=50, unique=True)),
                ("read_until", models.DateTimeField()),
            ],
            options={
                "db_table": "provider_feeds",
            },
        ),
        migrations.AddField(
            model_name="subscription",
            name="renewal_seen_at",
            field=models.DateTimeField(blank=True, help_text="newest provider news about whether it renews", null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="provider_checked_at",
            field=models.DateTimeField(
                blank=True, help_text="when the provider was last asked about it (real time)", null=True
            ),
        ),
        migrations.AddField(
            model_name="providercommand",
            name="subscription",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="commands",
                to="subscriptions.subscription",
            ),
        ),
        migrations.AddField(
            model_name="providerdrift",
            name="subscription",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="drifts",
                to="subscriptions.subscription",
            ),
        ),
        migrations.AddIndex(
            model_name="providercommand",
            index=models.Index(fields=["subscription", "-created_at"], name="idx_provider_commands_sub"),
        ),
        migrations.AddIndex(
            model_name="providercommand",
            index=models.Index(
                condition=models.Q(("status", "pending")), fields=["next_attempt_at"], name="idx_provider_commands_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="providercommand",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["cancel", "cancel_now", "resume", "pause", "change", "acknowledge"])),
                name="provider_commands_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercommand",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "confirmed", "refused", "withdrawn"])),
                name="provider_commands_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercommand",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "pending"), models.Q(("kind", "acknowledge"), _negated=True)),
                fields=("subscription",),
                name="uniq_provider_commands_pending",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercommand",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "acknowledge")),
                fields=("provider", "provider_sub_id"),
                name="uniq_provider_commands_acknowledge",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercommand",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "pending"), _negated=True), ("next_attempt_at__isnull", False), _connector="OR"
                ),
                name="provider_commands_pending_is_due",
            ),
        ),
        migrations.AddIndex(
            model_name="providerdrift",
            index=models.Index(fields=["subscription", "-created_at"], name="idx_provider_drifts_sub"),
        ),
        migrations.AddConstraint(
            model_name="providerdrift",
            constraint=models.CheckConstraint(
                condition=models.Q(("resolution__in", ["", "agrees", "theirs", "ours"])),
                name="provider_drifts_resolution",
            ),
        ),
        migrations.AddConstraint(
            model_name="providerdrift",
            constraint=models.UniqueConstraint(
                condition=models.Q(("resolved_at", None)), fields=("subscription",), name="uniq_provider_drifts_open"
            ),
        ),
        *(
            migrations.RunSQL(sql.updated_at_trigger(table), sql.drop_trigger(table, f"update_{table}_updated_at"))
            for table in ["provider_commands", "provider_drifts"]
        ),
        migrations.RunSQL(
            sql.transition_trigger("provider_commands", COMMANDS),
            sql.drop_trigger("provider_commands", "provider_commands_transition"),
        ),
    ]
