"""The sandbox's own tables; `fits_currency` comes from the core."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids
import providers.sandbox.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [("core", "0001_core_tables")]

    operations = [
        migrations.CreateModel(
            name="SandboxCheckout",
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
                ("token", models.CharField(default=providers.sandbox.models.new_token, max_length=64, unique=True)),
                ("kind", models.CharField(choices=[("subscription", "Subscription"), ("link", "Link")], max_length=20)),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "Open"), ("completed", "Completed")], default="open", max_length=20
                    ),
                ),
                ("order_ref", models.CharField(max_length=255)),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                ("user_ref", models.CharField(max_length=255)),
                ("plan_ref", models.CharField(blank=True, max_length=255)),
                ("description", models.CharField(blank=True, max_length=255)),
                ("billed", models.CharField(blank=True, max_length=60)),
                ("email", models.CharField(blank=True, max_length=320)),
                ("trial_days", models.PositiveIntegerField(default=0)),
                ("success_url", models.CharField(max_length=2000)),
                ("cancel_url", models.CharField(max_length=2000)),
                ("fail_url", models.CharField(blank=True, max_length=2000)),
                ("hook_url", models.CharField(blank=True, max_length=2000)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "sandbox_checkouts",
                "constraints": [
                    models.UniqueConstraint(fields=("account", "idempotency_key"), name="uniq_sandbox_checkout_key"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["subscription", "link"])), name="sandbox_checkouts_kind"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["open", "completed"])), name="sandbox_checkouts_status"
                    ),
                    models.CheckConstraint(condition=models.Q(("amount__gte", 0)), name="sandbox_checkouts_amount"),
                    models.CheckConstraint(
                        condition=models.Func(
                            models.F("amount"),
                            models.F("currency"),
                            function="fits_currency",
                            output_field=models.BooleanField(),
                        ),
                        name="sandbox_checkouts_currency",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SandboxDelivery",
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
                ("hook_url", models.CharField(max_length=2000)),
                ("body", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("delivered", "Delivered"), ("given_up", "Given Up")],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField()),
                ("last_status", models.PositiveSmallIntegerField(null=True)),
            ],
            options={
                "verbose_name_plural": "sandbox deliveries",
                "db_table": "sandbox_deliveries",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")),
                        fields=["next_attempt_at"],
                        name="idx_sandbox_delivery_due",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "delivered", "given_up"])),
                        name="sandbox_deliveries_status",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SandboxMethod",
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
                ("customer_ref", models.CharField(max_length=255)),
                ("user_ref", models.CharField(blank=True, max_length=255)),
                (
                    "behaviour",
                    models.CharField(
                        choices=[
                            ("ok", "works at later charges"),
                            ("decline", "declines later charges (insufficient funds)"),
                            ("stolen", "reported stolen before later charges"),
                            ("action", "asks for confirmation at later charges"),
                            ("timeout", "later charges time out, then settle"),
                            ("hold", "later charges are answered late"),
                        ],
                        default="ok",
                        max_length=20,
                    ),
                ),
                ("brand", models.CharField(max_length=20)),
                ("last4", models.CharField(max_length=4)),
                ("hook_url", models.CharField(blank=True, max_length=2000)),
            ],
            options={
                "db_table": "sandbox_methods",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("behaviour__in", ["ok", "decline", "stolen", "action", "timeout", "hold"])),
                        name="sandbox_methods_behaviour",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SandboxPayment",
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
                ("kind", models.CharField(choices=[("checkout", "Checkout"), ("charge", "Charge")], max_length=20)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("succeeded", "Succeeded"),
                            ("declined", "Declined"),
                            ("requires_action", "Requires Action"),
                        ],
                        max_length=20,
                    ),
                ),
                ("idempotency_key", models.CharField(max_length=255)),
                ("request_hash", models.CharField(blank=True, max_length=64)),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                ("refunded", payflow.core.fields.AmountField(decimal_places=4, default=0, max_digits=19)),
                ("decline_code", models.CharField(blank=True, max_length=40)),
                ("recoverable", models.BooleanField(default=True)),
                ("action_token", models.CharField(max_length=64, null=True, unique=True)),
                ("hook_url", models.CharField(blank=True, max_length=2000)),
                (
                    "checkout",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payments",
                        to="sandbox.sandboxcheckout",
                    ),
                ),
                (
                    "method",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payments",
                        to="sandbox.sandboxmethod",
                    ),
                ),
            ],
            options={
                "db_table": "sandbox_payments",
            },
        ),
        migrations.CreateModel(
            name="SandboxRefund",
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
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("reason", models.CharField(blank=True, max_length=255)),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="refunds", to="sandbox.sandboxpayment"
                    ),
                ),
            ],
            options={
                "db_table": "sandbox_refunds",
            },
        ),
        migrations.AddIndex(
            model_name="sandboxpayment",
            index=models.Index(fields=["account", "idempotency_key"], name="idx_sandbox_payment_key"),
        ),
        migrations.AddConstraint(
            model_name="sandboxpayment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "charge")),
                fields=("account", "idempotency_key"),
                name="uniq_sandbox_charge_key",
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxpayment",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "succeeded")), fields=("checkout",), name="uniq_sandbox_checkout_paid"
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxpayment",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["checkout", "charge"])), name="sandbox_payments_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxpayment",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["succeeded", "declined", "requires_action"])),
                name="sandbox_payments_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxpayment",
            constraint=models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="sandbox_payments_amount"),
        ),
        migrations.AddConstraint(
            model_name="sandboxpayment",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="sandbox_payments_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxpayment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("refunded", 0),
                    models.Q(("refunded__gt", 0), ("refunded__lte", models.F("amount")), ("status", "succeeded")),
                    _connector="OR",
                ),
                name="sandbox_payments_refunded",
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxrefund",
            constraint=models.UniqueConstraint(fields=("account", "idempotency_key"), name="uniq_sandbox_refund_key"),
        ),
        migrations.AddConstraint(
            model_name="sandboxrefund",
            constraint=models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="sandbox_refunds_amount"),
        ),
    ]
