"""Meters: what was used of a priced action in one cycle, and how much of it is settled."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("plans", "0005_action_prices"),
        ("subscriptions", "0012_had_priced_actions"),
        ("usage", "0002_usage_alerts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="UsageMeter",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                ("used", models.BigIntegerField(default=0)),
                ("billed", models.BigIntegerField(default=0)),
                ("charged", payflow.core.fields.AmountField(decimal_places=4, default=0, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                (
                    "price",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="+",
                        to="plans.actionprice",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="none: the plan of everybody",
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="usage_meters",
                        to="subscriptions.subscription",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "usage_meters",
                "indexes": [
                    models.Index(
                        condition=models.Q(("used", models.F("billed")), _negated=True),
                        fields=["subscription", "period_start"],
                        name="idx_usage_meters_unbilled",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "price", "subscription", "period_start"),
                        name="uniq_usage_meters_period",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("billed__gte", 0), ("billed__lte", models.F("used"))),
                        name="usage_meters_billed_is_used",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period_end__gt", models.F("period_start"))), name="usage_meters_half_open"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("charged__gte", 0)), name="usage_meters_charged_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Func(
                            models.F("charged"),
                            models.F("currency"),
                            function="fits_currency",
                            output_field=models.BooleanField(),
                        ),
                        name="usage_meters_charged_fits_currency",
                    ),
                ],
            },
        ),
    ]
