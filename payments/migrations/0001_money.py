from decimal import Decimal

import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [("core", "0001_core_tables")]

    operations = [
        migrations.CreateModel(
            name="Invoice",
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
                ("number", models.CharField(blank=True, max_length=32, null=True, unique=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "Draft"),
                            ("open", "Open"),
                            ("paid", "Paid"),
                            ("void", "Void"),
                            ("uncollectible", "Uncollectible"),
                        ],
                        default="draft",
                        max_length=20,
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("create", "Create"),
                            ("cycle", "Cycle"),
                            ("change", "Change"),
                            ("usage", "Usage"),
                            ("manual", "Manual"),
                        ],
                        max_length=20,
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                ("subtotal", payflow.core.fields.AmountField(decimal_places=4, default=Decimal("0"), max_digits=19)),
                ("discount", payflow.core.fields.AmountField(decimal_places=4, default=Decimal("0"), max_digits=19)),
                ("tax", payflow.core.fields.AmountField(decimal_places=4, default=Decimal("0"), max_digits=19)),
                (
                    "credit",
                    payflow.core.fields.AmountField(
                        decimal_places=4,
                        default=Decimal("0"),
                        help_text="customer credit consumed at issue",
                        max_digits=19,
                    ),
                ),
                (
                    "total",
                    payflow.core.fields.AmountField(
                        decimal_places=4,
                        default=Decimal("0"),
                        help_text="subtotal - discount + tax - credit: what money must settle",
                        max_digits=19,
                    ),
                ),
                (
                    "merchant_of_record",
                    models.BooleanField(default=False, help_text="sold by the provider: internal, unnumbered"),
                ),
                ("period_start", models.DateTimeField(blank=True, null=True)),
                ("period_end", models.DateTimeField(blank=True, null=True)),
                ("issued_at", models.DateTimeField(blank=True, null=True)),
                ("due_at", models.DateTimeField(blank=True, null=True)),
                ("paid_at", models.DateTimeField(blank=True, null=True)),
                ("voided_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "invoices",
            },
        ),
        migrations.CreateModel(
            name="InvoiceLine",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("plan", "Plan"),
                            ("proration_credit", "Proration Credit"),
                            ("proration_charge", "Proration Charge"),
                            ("usage", "Usage"),
                            ("discount", "Discount"),
                            ("tax", "Tax"),
                            ("credit", "Credit"),
                            ("manual", "Manual"),
                        ],
                        max_length=20,
                    ),
                ),
                ("description", models.CharField(max_length=255)),
                ("quantity", models.DecimalField(decimal_places=4, default=Decimal("1"), max_digits=19)),
                ("unit_amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                ("period_start", models.DateTimeField(blank=True, null=True)),
                ("period_end", models.DateTimeField(blank=True, null=True)),
                ("explanation", models.JSONField(default=dict)),
            ],
            options={
                "db_table": "invoice_lines",
                "ordering": ["position"],
            },
        ),
        migrations.CreateModel(
            name="LedgerEntry",
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
                    "account",
                    models.CharField(
                        choices=[
                            ("receivable", "Receivable"),
                            ("provider_clearing", "Clearing"),
                            ("unapplied_payments", "Unapplied"),
                            ("revenue", "Revenue"),
                            ("discounts", "Discounts"),
                            ("tax", "Tax"),
                            ("customer_credit", "Customer Credit"),
                            ("refunds", "Refunds"),
                            ("chargebacks", "Chargebacks"),
                            ("write_off", "Write Off"),
                        ],
                        max_length=30,
                    ),
                ),
                ("provider", models.CharField(blank=True, default="", max_length=50)),
                (
                    "amount",
                    payflow.core.fields.AmountField(
                        decimal_places=4, help_text="debit positive, credit negative", max_digits=19
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
            ],
            options={
                "verbose_name_plural": "ledger entries",
                "db_table": "ledger_entries",
            },
        ),
        migrations.CreateModel(
            name="LedgerPosting",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("key", models.CharField(max_length=120, unique=True)),
                ("kind", models.CharField(max_length=40)),
            ],
            options={
                "db_table": "ledger_postings",
            },
        ),
        migrations.CreateModel(
            name="NumberCounter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("series", models.CharField(max_length=32)),
                ("year", models.PositiveSmallIntegerField()),
                ("last", models.PositiveIntegerField(default=0)),
            ],
            options={
                "db_table": "number_counters",
            },
        ),
        migrations.CreateModel(
            name="PaymentMethod",
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
                ("method_ref", models.CharField(max_length=255)),
                ("customer_ref", models.CharField(blank=True, default="", max_length=255)),
                ("kind", models.CharField(default="card", max_length=50)),
                ("brand", models.CharField(blank=True, default="", max_length=50)),
                ("last4", models.CharField(blank=True, default="", max_length=4)),
                ("is_active", models.BooleanField(default=True)),
            ],
            options={
                "db_table": "payment_methods",
            },
        ),
        migrations.CreateModel(
            name="PaymentTransaction",
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
                ("provider_txn_id", models.CharField(blank=True, max_length=255, null=True)),
                (
                    "type",
                    models.CharField(
                        choices=[("charge", "Charge"), ("refund", "Refund"), ("chargeback", "Chargeback")],
                        max_length=20,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                            ("refunded", "Refunded"),
                        ],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(default="USD", max_length=3)),
                (
                    "refunded_amount",
                    payflow.core.fields.AmountField(
                        decimal_places=4,
                        default=Decimal("0"),
                        help_text="of a charge: refunded or reserved by pending refunds",
                        max_digits=19,
                    ),
                ),
                ("payment_method", models.CharField(blank=True, max_length=50, null=True)),
                ("idempotency_key", models.CharField(max_length=255, unique=True)),
                ("attempt", models.PositiveSmallIntegerField(default=1)),
                ("failure_code", models.CharField(blank=True, default="", max_length=100)),
                ("recoverable", models.BooleanField(default=True, help_text="of a failure: may asking again succeed?")),
                ("reason", models.CharField(blank=True, default="", max_length=255)),
                ("gateway_response", models.JSONField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("completed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "payment_transactions",
            },
        ),
    ]
