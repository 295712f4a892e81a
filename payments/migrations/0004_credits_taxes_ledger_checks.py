"""Customer credit, tax rates, the results of ledger checks. Rows that there are satisfy the new constraint: 0005 validates it."""

from decimal import Decimal

import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0003_money_triggers"),
        ("subscriptions", "0002_subscription_triggers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CreditAccount",
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
                ("currency", models.CharField(max_length=3)),
                ("balance", payflow.core.fields.AmountField(decimal_places=4, default=0, max_digits=19)),
            ],
            options={
                "db_table": "credit_accounts",
            },
        ),
        migrations.CreateModel(
            name="CreditGrant",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("key", models.CharField(max_length=160, unique=True)),
                (
                    "source",
                    models.CharField(
                        choices=[("goodwill", "Goodwill"), ("unused_time", "Unused Time"), ("payment", "Payment")],
                        max_length=20,
                    ),
                ),
                ("reason", models.CharField(max_length=255)),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("remaining", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                (
                    "tax",
                    payflow.core.fields.AmountField(
                        decimal_places=4,
                        default=0,
                        help_text="of unused time: the part that was tax, no longer owed",
                        max_digits=19,
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("expired_at", models.DateTimeField(blank=True, null=True)),
                ("explanation", models.JSONField(blank=True, default=dict)),
            ],
            options={
                "db_table": "credit_grants",
            },
        ),
        migrations.CreateModel(
            name="CreditUse",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("key", models.CharField(help_text="one use may take from several grants", max_length=160)),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                ("returned_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "credit_uses",
            },
        ),
        migrations.CreateModel(
            name="LedgerCheck",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("finished_at", models.DateTimeField()),
                ("checked", models.JSONField(default=dict, help_text="how many of each were looked at")),
                ("faults", models.JSONField(blank=True, default=list)),
                ("is_sound", models.BooleanField()),
            ],
            options={
                "db_table": "ledger_checks",
            },
        ),
        migrations.CreateModel(
            name="TaxRate",
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
                (
                    "country",
                    models.CharField(
                        help_text="ISO 3166-1 alpha-2, the buyer's",
                        max_length=2,
                        validators=[django.core.validators.RegexValidator("^[A-Z]{2}$")],
                    ),
                ),
                ("name", models.CharField(help_text="as it stands on the invoice: VAT, GST", max_length=50)),
                ("percent", models.DecimalField(decimal_places=4, max_digits=7)),
                (
                    "inclusive",
                    models.BooleanField(default=False, help_text="the price contains it; otherwise it is added"),
                ),
                ("is_active", models.BooleanField(default=True)),
            ],
            options={
                "db_table": "tax_rates",
                "ordering": ["country", "-is_active", "-created_at"],
            },
        ),
        migrations.AddField(
            model_name="invoice",
            name="tax_included",
            field=payflow.core.fields.AmountField(
                db_default=Decimal("0"),
                decimal_places=4,
                default=Decimal("0"),
                help_text="contained in the price, and so in the subtotal",
                max_digits=19,
            ),
        ),
        migrations.AddField(
            model_name="paymenttransaction",
            name="recorded_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                editable=False,
                help_text="real time of the intent: what a day's charges are counted by",
            ),
        ),
        migrations.AlterField(
            model_name="invoice",
            name="tax",
            field=payflow.core.fields.AmountField(
                decimal_places=4, default=Decimal("0"), help_text="added to the price", max_digits=19
            ),
        ),
        AddConstraintNotValid(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("tax_included", 0),
                    models.Q(
                        ("tax_included__gt", 0),
                        (
                            "tax_included__lte",
                            django.db.models.expressions.CombinedExpression(
                                models.F("subtotal"), "-", models.F("discount")
                            ),
                        ),
                    ),
                    _connector="OR",
                ),
                name="invoices_tax_included_in_price",
            ),
        ),
        migrations.AddField(
            model_name="creditaccount",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="credit_accounts",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="creditgrant",
            name="account",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="grants",
                to="payments.creditaccount",
            ),
        ),
        migrations.AddField(
            model_name="credituse",
            name="grant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT, related_name="uses", to="payments.creditgrant"
            ),
        ),
        migrations.AddField(
            model_name="credituse",
            name="invoice",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="credit_uses",
                to="payments.invoice",
            ),
        ),
        migrations.AddIndex(
            model_name="ledgercheck",
            index=models.Index(fields=["-created_at"], name="idx_ledger_checks_newest"),
        ),
        migrations.AddConstraint(
            model_name="taxrate",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_active", True)), fields=("country",), name="uniq_tax_rates_country"
            ),
        ),
        migrations.AddConstraint(
            model_name="taxrate",
            constraint=models.CheckConstraint(
                condition=models.Q(("percent__gte", 0), ("percent__lte", 100)), name="tax_rates_percent_in_range"
            ),
        ),
        migrations.AddConstraint(
            model_name="taxrate",
            constraint=models.CheckConstraint(
                condition=models.Q(("country__regex", "^[A-Z]{2}$")), name="tax_rates_country_code"
            ),
        ),
        migrations.AddConstraint(
            model_name="creditaccount",
            constraint=models.UniqueConstraint(fields=("user", "currency"), name="uniq_credit_accounts_currency"),
        ),
        migrations.AddConstraint(
            model_name="creditaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("balance__gte", 0)), name="credit_accounts_balance_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="creditaccount",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("balance"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="credit_accounts_balance_fits_currency",
            ),
        ),
        migrations.AddIndex(
            model_name="creditgrant",
            index=models.Index(
                condition=models.Q(("remaining__gt", 0)),
                fields=["account", "expires_at"],
                name="idx_credit_grants_usable",
            ),
        ),
        migrations.AddIndex(
            model_name="creditgrant",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False), ("remaining__gt", 0)),
                fields=["expires_at"],
                name="idx_credit_grants_expiry",
            ),
        ),
        migrations.AddConstraint(
            model_name="creditgrant",
            constraint=models.CheckConstraint(
                condition=models.Q(("source__in", ["goodwill", "unused_time", "payment"])), name="credit_grants_source"
            ),
        ),
        migrations.AddConstraint(
            model_name="creditgrant",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="credit_grants_amount_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="creditgrant",
            constraint=models.CheckConstraint(
                condition=models.Q(("remaining__gte", 0), ("remaining__lte", models.F("amount"))),
                name="credit_grants_remaining_within_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="creditgrant",
            constraint=models.CheckConstraint(
                condition=models.Q(("tax__gte", 0), ("tax__lte", models.F("amount"))),
                name="credit_grants_tax_within_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="creditgrant",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="credit_grants_amount_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="creditgrant",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("remaining"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="credit_grants_remaining_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="credituse",
            constraint=models.UniqueConstraint(fields=("key", "grant"), name="uniq_credit_uses_key"),
        ),
        migrations.AddConstraint(
            model_name="credituse",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="credit_uses_amount_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="credituse",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="credit_uses_amount_fits_currency",
            ),
        ),
    ]
