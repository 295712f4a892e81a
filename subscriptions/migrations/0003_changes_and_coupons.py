"""Plan changes, redemptions of coupons, and what disputes and reviews leave on a subscription."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0004_credits_taxes_ledger_checks"),
        ("plans", "0003_coupons"),
        ("subscriptions", "0002_subscription_triggers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CouponRedemption",
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
                    "status",
                    models.CharField(
                        choices=[
                            ("reserved", "Reserved"),
                            ("active", "Active"),
                            ("ended", "Ended"),
                            ("released", "Released"),
                        ],
                        default="reserved",
                        max_length=20,
                    ),
                ),
                (
                    "cycles",
                    models.PositiveSmallIntegerField(
                        blank=True, help_text="how many invoices it lowers; empty: all", null=True
                    ),
                ),
                ("cycles_used", models.PositiveSmallIntegerField(default=0)),
            ],
            options={
                "db_table": "coupon_redemptions",
            },
        ),
        migrations.CreateModel(
            name="SubscriptionChange",
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
                    "reason",
                    models.CharField(
                        choices=[("requested", "Requested"), ("price_move", "Price Move")],
                        default="requested",
                        max_length=20,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "Open"), ("applied", "Applied"), ("cancelled", "Cancelled")],
                        default="open",
                        max_length=20,
                    ),
                ),
                (
                    "effective",
                    models.CharField(
                        choices=[("on_payment", "On Payment"), ("period_end", "Period End")], max_length=20
                    ),
                ),
                ("effective_at", models.DateTimeField()),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
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
                ("billing_interval", models.PositiveSmallIntegerField(default=1)),
                ("quote", models.JSONField(default=dict)),
                ("actor", models.CharField(max_length=120)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "subscription_changes",
            },
        ),
        migrations.RemoveConstraint(
            model_name="billingperiod",
            name="billing_periods_source",
        ),
        migrations.AddField(
            model_name="checkout",
            name="coupon",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="plans.coupon",
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="disputed_at",
            field=models.DateTimeField(blank=True, help_text="a chargeback is open: nothing is charged", null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="review_reason",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="why an operator must look", max_length=100
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="trial_notified_at",
            field=models.DateTimeField(blank=True, help_text="when the end of the trial was announced", null=True),
        ),
        migrations.AlterField(
            model_name="billingperiod",
            name="source",
            field=models.CharField(
                choices=[
                    ("checkout", "Checkout"),
                    ("renewal", "Renewal"),
                    ("trial", "Trial"),
                    ("provider", "Provider"),
                    ("change", "Change"),
                    ("resume", "Resume"),
                    ("manual", "Manual"),
                    ("forgiven", "Forgiven"),
                ],
                max_length=20,
            ),
        ),
        AddConstraintNotValid(
            model_name="billingperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "source__in",
                        ["checkout", "renewal", "trial", "provider", "change", "resume", "manual", "forgiven"],
                    )
                ),
                name="billing_periods_source",
            ),
        ),
        migrations.AddField(
            model_name="couponredemption",
            name="coupon",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT, related_name="taken", to="plans.coupon"
            ),
        ),
        migrations.AddField(
            model_name="couponredemption",
            name="subscription",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="redemptions",
                to="subscriptions.subscription",
            ),
        ),
        migrations.AddField(
            model_name="couponredemption",
            name="user",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="redemptions",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="subscriptionchange",
            name="from_plan",
            field=models.ForeignKey(on_delete=django.db.models.deletion.RESTRICT, related_name="+", to="plans.plan"),
        ),
        migrations.AddField(
            model_name="subscriptionchange",
            name="invoice",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="changes",
                to="payments.invoice",
            ),
        ),
        migrations.AddField(
            model_name="subscriptionchange",
            name="plan",
            field=models.ForeignKey(on_delete=django.db.models.deletion.RESTRICT, related_name="+", to="plans.plan"),
        ),
        migrations.AddField(
            model_name="subscriptionchange",
            name="subscription",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="changes",
                to="subscriptions.subscription",
            ),
        ),
        migrations.AddConstraint(
            model_name="couponredemption",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["reserved", "active", "ended", "released"])),
                name="coupon_redemptions_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="couponredemption",
            constraint=models.CheckConstraint(
                condition=models.Q(("cycles", None), ("cycles_used__lte", models.F("cycles")), _connector="OR"),
                name="coupon_redemptions_within_cycles",
            ),
        ),
        migrations.AddConstraint(
            model_name="couponredemption",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "released"), _negated=True),
                fields=("user", "coupon"),
                name="uniq_coupon_redemptions_user",
            ),
        ),
        migrations.AddConstraint(
            model_name="couponredemption",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["reserved", "active"])),
                fields=("subscription",),
                name="uniq_coupon_redemptions_subscription",
            ),
        ),
        migrations.AddIndex(
            model_name="subscriptionchange",
            index=models.Index(fields=["subscription", "-created_at"], name="idx_subscription_changes_sub"),
        ),
        migrations.AddConstraint(
            model_name="subscriptionchange",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["open", "applied", "cancelled"])), name="subscription_changes_status"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionchange",
            constraint=models.CheckConstraint(
                condition=models.Q(("effective__in", ["on_payment", "period_end"])),
                name="subscription_changes_effective",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionchange",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason__in", ["requested", "price_move"])), name="subscription_changes_reason"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionchange",
            constraint=models.CheckConstraint(
                condition=models.Q(("billing_cycle__in", ["daily", "weekly", "monthly", "yearly"])),
                name="subscription_changes_billing_cycle",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionchange",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gte", 0)), name="subscription_changes_amount_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionchange",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="subscription_changes_amount_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionchange",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "open")), fields=("subscription",), name="uniq_subscription_changes_open"
            ),
        ),
    ]
