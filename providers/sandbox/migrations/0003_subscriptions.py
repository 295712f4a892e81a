"""The sandbox sells by itself: products, subscriptions, its list of news, faults. Taken back by dropping them."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("sandbox", "0002_disputes"),
    ]

    operations = [
        migrations.AddField(
            model_name="sandboxdelivery",
            name="repeats",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="sandboxpayment",
            name="period_end",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="sandboxpayment",
            name="period_start",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="SandboxFault",
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
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("lose", "deliveries are never sent"),
                            ("repeat", "deliveries are sent twice"),
                            ("reorder", "deliveries are sent newest first"),
                            ("timeout", "calls time out after they were done"),
                        ],
                        max_length=20,
                    ),
                ),
                ("remaining", models.PositiveIntegerField(null=True)),
                ("switched_on_at", models.DateTimeField()),
            ],
            options={
                "db_table": "sandbox_faults",
                "constraints": [
                    models.UniqueConstraint(fields=("account", "kind"), name="uniq_sandbox_fault"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["lose", "repeat", "reorder", "timeout"])),
                        name="sandbox_faults_kind",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SandboxProduct",
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
                ("product_ref", models.CharField(max_length=255)),
                ("name", models.CharField(max_length=255)),
                ("price", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                (
                    "cycle",
                    models.CharField(
                        choices=[
                            ("daily", "Daily"),
                            ("weekly", "Weekly"),
                            ("monthly", "Monthly"),
                            ("yearly", "Yearly"),
                        ],
                        max_length=20,
                    ),
                ),
                ("every", models.PositiveSmallIntegerField(default=1)),
                ("trial_days", models.PositiveIntegerField(default=0)),
            ],
            options={
                "db_table": "sandbox_products",
                "constraints": [
                    models.UniqueConstraint(fields=("account", "product_ref"), name="uniq_sandbox_product_ref"),
                    models.CheckConstraint(
                        condition=models.Q(("cycle__in", ["daily", "weekly", "monthly", "yearly"])),
                        name="sandbox_products_cycle",
                    ),
                    models.CheckConstraint(condition=models.Q(("price__gt", 0)), name="sandbox_products_price"),
                    models.CheckConstraint(condition=models.Q(("every__gte", 1)), name="sandbox_products_every"),
                    models.CheckConstraint(
                        condition=models.Func(
                            models.F("price"),
                            models.F("currency"),
                            function="fits_currency",
                            output_field=models.BooleanField(),
                        ),
                        name="sandbox_products_currency",
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="sandboxcheckout",
            name="product",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="checkouts",
                to="sandbox.sandboxproduct",
            ),
        ),
        migrations.CreateModel(
            name="SandboxSubscription",
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
                ("purchase_token", models.CharField(max_length=64, null=True, unique=True)),
                ("user_ref", models.CharField(blank=True, max_length=255)),
                ("plan_ref", models.CharField(blank=True, max_length=255)),
                ("order_ref", models.CharField(blank=True, max_length=255)),
                ("hook_url", models.CharField(blank=True, max_length=2000)),
                ("is_test", models.BooleanField(default=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("trial", "Trial"),
                            ("active", "Active"),
                            ("past_due", "Past Due"),
                            ("on_hold", "On Hold"),
                            ("paused", "Paused"),
                            ("expired", "Expired"),
                            ("revoked", "Revoked"),
                        ],
                        max_length=20,
                    ),
                ),
                ("auto_renew", models.BooleanField(default=True)),
                ("anchor", models.DateTimeField()),
                ("cycles", models.PositiveIntegerField(default=0)),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                ("grace_until", models.DateTimeField(null=True)),
                ("held_at", models.DateTimeField(null=True)),
                ("declines", models.PositiveSmallIntegerField(default=0)),
                ("charges", models.PositiveIntegerField(default=0)),
                ("acknowledge_by", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("changed_at", models.DateTimeField()),
                (
                    "method",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="sandbox.sandboxmethod",
                    ),
                ),
                (
                    "next_product",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="sandbox.sandboxproduct",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="sandbox.sandboxproduct",
                    ),
                ),
                (
                    "replaces",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replaced_by",
                        to="sandbox.sandboxsubscription",
                    ),
                ),
            ],
            options={
                "db_table": "sandbox_subscriptions",
            },
        ),
        migrations.CreateModel(
            name="SandboxEvent",
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
                ("event_id", models.CharField(max_length=40, unique=True)),
                ("body", models.TextField()),
                ("occurred_at", models.DateTimeField()),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="told",
                        to="sandbox.sandboxsubscription",
                    ),
                ),
            ],
            options={
                "db_table": "sandbox_events",
            },
        ),
        migrations.AddField(
            model_name="sandboxpayment",
            name="subscription",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="payments",
                to="sandbox.sandboxsubscription",
            ),
        ),
        migrations.AddIndex(
            model_name="sandboxsubscription",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="idx_sandbox_subscription_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxsubscription",
            constraint=models.UniqueConstraint(
                fields=("account", "idempotency_key"), name="uniq_sandbox_subscription_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxsubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["trial", "active", "past_due", "on_hold", "paused", "expired", "revoked"])
                ),
                name="sandbox_subscriptions_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxsubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("period_end__gte", models.F("period_start"))), name="sandbox_subscriptions_period"
            ),
        ),
        migrations.AddIndex(
            model_name="sandboxevent",
            index=models.Index(fields=["account", "created_at", "id"], name="idx_sandbox_event_account"),
        ),
    ]
