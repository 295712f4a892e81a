import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [("core", "0001_core_tables")]

    operations = [
        migrations.CreateModel(
            name="Plan",
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
                ("code", models.SlugField(unique=True)),
                ("name", models.CharField(max_length=100)),
                ("description", models.TextField(blank=True, null=True)),
                ("price", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                (
                    "currency",
                    models.CharField(
                        default="USD", max_length=3, validators=[django.core.validators.RegexValidator("^[A-Z]{3}$")]
                    ),
                ),
                (
                    "billing_cycle",
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
                ("billing_interval", models.PositiveSmallIntegerField(default=1, help_text="every n cycles")),
                ("trial_days", models.PositiveSmallIntegerField(default=0)),
                ("features", models.JSONField(blank=True, default=dict)),
                ("max_usage_per_day", models.PositiveIntegerField(blank=True, default=100, null=True)),
                ("max_usage_per_month", models.PositiveIntegerField(blank=True, default=3000, null=True)),
                ("family", models.SlugField(default="main", help_text="plans that one can switch between")),
                ("is_active", models.BooleanField(default=True)),
                ("sort_order", models.SmallIntegerField(default=0)),
            ],
            options={
                "db_table": "plans",
                "ordering": ["sort_order", "price", "code"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_active", True)), fields=["sort_order", "price"], name="idx_plans_active"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("billing_cycle__in", ["daily", "weekly", "monthly", "yearly"])),
                        name="plans_billing_cycle",
                    ),
                    models.CheckConstraint(condition=models.Q(("price__gte", 0)), name="plans_price_not_negative"),
                    models.CheckConstraint(
                        condition=models.Func(
                            models.F("price"),
                            models.F("currency"),
                            function="fits_currency",
                            output_field=models.BooleanField(),
                        ),
                        name="plans_price_fits_currency",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("billing_interval__gte", 1)), name="plans_interval_positive"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PlanPrice",
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
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="prices", to="plans.plan"
                    ),
                ),
            ],
            options={
                "db_table": "plan_prices",
                "constraints": [
                    models.UniqueConstraint(fields=("plan", "currency"), name="uniq_plan_prices_currency"),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gte", 0)), name="plan_prices_amount_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Func(
                            models.F("amount"),
                            models.F("currency"),
                            function="fits_currency",
                            output_field=models.BooleanField(),
                        ),
                        name="plan_prices_amount_fits_currency",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PlanProviderRef",
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
                ("ref", models.CharField(max_length=255)),
                ("currency", models.CharField(blank=True, default="", max_length=3)),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="provider_refs", to="plans.plan"
                    ),
                ),
            ],
            options={
                "db_table": "plan_provider_refs",
                "constraints": [
                    models.UniqueConstraint(fields=("provider", "ref"), name="uniq_plan_provider_refs_ref")
                ],
            },
        ),
    ]
