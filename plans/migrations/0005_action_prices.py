"""Prices of actions. A row is never changed, only retired: who was sold it goes on with it."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.ids

FIXED = """
CREATE FUNCTION refuse_other_terms() RETURNS TRIGGER AS $$
BEGIN
    IF to_jsonb(NEW) - 'retired_at' IS DISTINCT FROM to_jsonb(OLD) - 'retired_at' THEN
        RAISE EXCEPTION 'a price of an action is not changed: it is retired, and another takes its place'
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER action_prices_fixed BEFORE UPDATE ON action_prices
    FOR EACH ROW EXECUTE FUNCTION refuse_other_terms();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("plans", "0004_coupon_triggers"),
    ]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="priced_actions",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=50),
                blank=True,
                db_default=[],
                default=list,
                editable=False,
                help_text="every action that it prices, or did: who looks for a price looks here first",
                size=None,
            ),
        ),
        migrations.CreateModel(
            name="ActionPrice",
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
                    "action",
                    models.CharField(
                        max_length=50, validators=[django.core.validators.RegexValidator("^[a-z0-9_.:-]{1,50}$")]
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                (
                    "settlement",
                    models.CharField(
                        choices=[("invoice", "on the next invoice"), ("credit", "from credit, at the moment of use")],
                        default="invoice",
                        max_length=10,
                    ),
                ),
                (
                    "model",
                    models.CharField(
                        choices=[
                            ("per_unit", "Per Unit"),
                            ("graduated", "Graduated"),
                            ("volume", "Volume"),
                            ("package", "Package"),
                        ],
                        default="per_unit",
                        max_length=10,
                    ),
                ),
                (
                    "included",
                    models.PositiveBigIntegerField(default=0, help_text="units of each period that cost nothing"),
                ),
                (
                    "unit_amount",
                    models.DecimalField(
                        blank=True,
                        decimal_places=9,
                        help_text="of a unit, or of a package; finer than the currency's digits where it has to be",
                        max_digits=19,
                        null=True,
                    ),
                ),
                ("package_size", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "tiers",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text='[{"up_to": 1000, "unit_amount": 0.01, "flat_amount": 0}, {"up_to": null, "unit_amount": 0.005}]',
                    ),
                ),
                ("starts_at", models.DateTimeField(help_text="who subscribes from then on is sold this")),
                ("retired_at", models.DateTimeField(blank=True, null=True)),
                (
                    "plan",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="action_prices",
                        to="plans.plan",
                    ),
                ),
            ],
            options={
                "db_table": "action_prices",
                "indexes": [
                    models.Index(fields=["plan", "action", "currency", "starts_at"], name="idx_action_prices_plan")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("settlement__in", ["invoice", "credit"])), name="action_prices_settlement"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("model__in", ["per_unit", "graduated", "volume", "package"])),
                        name="action_prices_model",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("retired_at", None)),
                        fields=("plan", "currency", "action"),
                        name="uniq_action_prices_present",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("model__in", ["per_unit", "package"]),
                                ("unit_amount__gte", 0),
                                ("unit_amount__isnull", False),
                            ),
                            models.Q(("model__in", ["graduated", "volume"]), ("unit_amount", None)),
                            _connector="OR",
                        ),
                        name="action_prices_unit_amount",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("model", "package"), ("package_size__gte", 1), ("package_size__isnull", False)),
                            models.Q(models.Q(("model", "package"), _negated=True), ("package_size", None)),
                            _connector="OR",
                        ),
                        name="action_prices_package_size",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("model__in", ["graduated", "volume"]), models.Q(("tiers", []), _negated=True)),
                            models.Q(("model__in", ["per_unit", "package"]), ("tiers", [])),
                            _connector="OR",
                        ),
                        name="action_prices_tiers",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("model", "volume"), ("settlement", "credit"), _negated=True),
                        name="action_prices_no_credit_by_volume",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("retired_at", None), ("retired_at__gte", models.F("starts_at")), _connector="OR"
                        ),
                        name="action_prices_retired_after_start",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            FIXED,
            "DROP TRIGGER action_prices_fixed ON action_prices; DROP FUNCTION refuse_other_terms();",
        ),
    ]
