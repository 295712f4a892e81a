"""Coupons; trials that need no method; proration by plan."""

import django.core.validators
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("plans", "0002_plan_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name="Coupon",
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
                    "code",
                    models.CharField(
                        max_length=50,
                        unique=True,
                        validators=[django.core.validators.RegexValidator("^[A-Z0-9_-]{2,50}$")],
                    ),
                ),
                (
                    "name",
                    models.CharField(blank=True, default="", help_text="as it stands on the invoice", max_length=100),
                ),
                ("kind", models.CharField(choices=[("percent", "Percent"), ("fixed", "Fixed")], max_length=10)),
                ("percent", models.DecimalField(blank=True, decimal_places=4, max_digits=7, null=True)),
                ("amount", payflow.core.fields.AmountField(blank=True, decimal_places=4, max_digits=19, null=True)),
                ("currency", models.CharField(blank=True, default="", help_text="of a fixed amount", max_length=3)),
                (
                    "duration",
                    models.CharField(
                        choices=[("once", "Once"), ("cycles", "Cycles"), ("forever", "Forever")],
                        default="once",
                        max_length=10,
                    ),
                ),
                ("cycles", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("starts_at", models.DateTimeField(blank=True, null=True)),
                ("ends_at", models.DateTimeField(blank=True, null=True)),
                ("max_redemptions", models.PositiveIntegerField(blank=True, null=True)),
                ("redemptions", models.PositiveIntegerField(default=0)),
                (
                    "first_time_only",
                    models.BooleanField(default=False, help_text="for who never paid for a subscription"),
                ),
                ("is_active", models.BooleanField(default=True)),
            ],
            options={
                "db_table": "coupons",
                "ordering": ["code"],
            },
        ),
        migrations.AddField(
            model_name="plan",
            name="proration_unit",
            field=models.CharField(
                blank=True,
                choices=[("second", "Second"), ("day", "Day")],
                help_text="empty: the setting's",
                max_length=10,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="trial_needs_method",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="a trial begins by a checkout that keeps a payment method; else at once",
            ),
        ),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.CheckConstraint(
                condition=models.Q(("proration_unit__in", ["second", "day"])), name="plans_proration_unit"
            ),
        ),
        migrations.AddField(
            model_name="coupon",
            name="plans",
            field=models.ManyToManyField(blank=True, db_table="coupon_plans", related_name="coupons", to="plans.plan"),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["percent", "fixed"])), name="coupons_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(("duration__in", ["once", "cycles", "forever"])), name="coupons_duration"
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(("code__regex", "^[A-Z0-9_-]{2,50}$")), name="coupons_code"
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("amount", None), ("kind", "percent"), ("percent__gt", 0), ("percent__lte", 100)),
                    models.Q(("amount__gt", 0), ("kind", "fixed"), ("percent", None)),
                    _connector="OR",
                ),
                name="coupons_percent_or_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("currency", ""), ("kind", "percent")),
                    models.Q(("kind", "fixed"), models.Q(("currency", ""), _negated=True)),
                    _connector="OR",
                ),
                name="coupons_currency_of_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("cycles__gte", 1), ("duration", "cycles")),
                    models.Q(models.Q(("duration", "cycles"), _negated=True), ("cycles", None)),
                    _connector="OR",
                ),
                name="coupons_cycles",
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("max_redemptions", None), ("redemptions__lte", models.F("max_redemptions")), _connector="OR"
                ),
                name="coupons_within_maximum",
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("starts_at", None), ("ends_at", None), ("ends_at__gt", models.F("starts_at")), _connector="OR"
                ),
                name="coupons_window",
            ),
        ),
        migrations.AddConstraint(
            model_name="coupon",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount", None),
                    models.Func(
                        models.F("amount"),
                        models.F("currency"),
                        function="fits_currency",
                        output_field=models.BooleanField(),
                    ),
                    _connector="OR",
                ),
                name="coupons_amount_fits_currency",
            ),
        ),
    ]
