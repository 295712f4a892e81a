import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("payments", "0001_money"),
        ("plans", "0001_plans"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Subscription",
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
                ("family", models.SlugField(default="main")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("trial", "Trial"),
                            ("active", "Active"),
                            ("past_due", "Past Due"),
                            ("suspended", "Suspended"),
                            ("paused", "Paused"),
                            ("cancelled", "Cancelled"),
                            ("expired", "Expired"),
                        ],
                        max_length=20,
                    ),
                ),
                ("provider", models.CharField(blank=True, max_length=50, null=True)),
                ("provider_sub_id", models.CharField(blank=True, max_length=255, null=True)),
                ("start_date", models.DateTimeField()),
                ("end_date", models.DateTimeField(blank=True, null=True)),
                ("anchor", models.DateTimeField(help_text="periods are counted from here")),
                ("timezone", models.CharField(default="UTC", max_length=64)),
                ("current_period_start", models.DateTimeField(blank=True, null=True)),
                ("trial_ends_at", models.DateTimeField(blank=True, null=True)),
                ("grace_until", models.DateTimeField(blank=True, null=True)),
                ("cancelled_at", models.DateTimeField(blank=True, null=True)),
                ("suspended_at", models.DateTimeField(blank=True, null=True)),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("resumes_at", models.DateTimeField(blank=True, null=True)),
                ("auto_renew", models.BooleanField(default=True)),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(default="USD", max_length=3)),
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
                (
                    "dunning_from",
                    models.DateTimeField(
                        blank=True,
                        help_text="grace and retries count from here: the due date, later only by our own downtime",
                        null=True,
                    ),
                ),
                (
                    "dunning_step",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="scheduled retries of the open invoice so far"
                    ),
                ),
                (
                    "provider_seen_at",
                    models.DateTimeField(blank=True, help_text="newest provider state applied", null=True),
                ),
                ("next_action_at", models.DateTimeField(blank=True, null=True)),
                (
                    "overlaps",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="overlapped_by",
                        to="subscriptions.subscription",
                    ),
                ),
                (
                    "payment_method",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="subscriptions",
                        to="payments.paymentmethod",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.RESTRICT, related_name="subscriptions", to="plans.plan"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="subscriptions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "subscriptions",
            },
        ),
        migrations.CreateModel(
            name="ProviderLink",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("provider", models.CharField(max_length=50)),
                ("provider_sub_id", models.CharField(max_length=255)),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="links",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "db_table": "provider_links",
            },
        ),
        migrations.CreateModel(
            name="Checkout",
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
                    "purpose",
                    models.CharField(
                        choices=[
                            ("subscribe", "Subscribe"),
                            ("change", "Change"),
                            ("invoice", "Invoice"),
                            ("topup", "Topup"),
                            ("move", "Move"),
                        ],
                        max_length=20,
                    ),
                ),
                ("provider", models.CharField(max_length=50)),
                ("order_ref", models.CharField(max_length=64, unique=True)),
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                ("trial_days", models.PositiveSmallIntegerField(default=0)),
                ("url", models.TextField(blank=True, default="")),
                ("success_url", models.TextField(blank=True, default="")),
                ("cancel_url", models.TextField(blank=True, default="")),
                ("expires_at", models.DateTimeField()),
                ("paid_at", models.DateTimeField(blank=True, null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("paid", "Paid"),
                            ("expired", "Expired"),
                            ("superseded", "Superseded"),
                            ("unknown", "Unknown"),
                        ],
                        default="unknown",
                        max_length=20,
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="checkouts",
                        to="payments.invoice",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="+",
                        to="plans.plan",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="checkouts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="checkouts",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "db_table": "checkouts",
            },
        ),
        migrations.CreateModel(
            name="BillingPeriod",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
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
                ("amount", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("checkout", "Checkout"),
                            ("renewal", "Renewal"),
                            ("trial", "Trial"),
                            ("provider", "Provider"),
                            ("change", "Change"),
                            ("resume", "Resume"),
                            ("manual", "Manual"),
                        ],
                        max_length=20,
                    ),
                ),
                ("superseded_at", models.DateTimeField(blank=True, null=True)),
                (
                    "invoice",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="periods",
                        to="payments.invoice",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(on_delete=django.db.models.deletion.RESTRICT, related_name="+", to="plans.plan"),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="periods",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "db_table": "billing_periods",
            },
        ),
        migrations.CreateModel(
            name="SubscriptionEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("sequence", models.PositiveIntegerField()),
                ("from_status", models.CharField(blank=True, default="", max_length=20)),
                ("to_status", models.CharField(max_length=20)),
                ("reason", models.CharField(max_length=100)),
                ("actor", models.CharField(max_length=120)),
                ("at", models.DateTimeField()),
                (
                    "subscription",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="events",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "db_table": "subscription_events",
            },
        ),
        migrations.CreateModel(
            name="TrialRedemption",
            fields=[
                (
                    "id",
                    models.UUIDField(default=payflow.core.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("family", models.SlugField()),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.RESTRICT, related_name="+", to="subscriptions.subscription"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="trials",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "trial_redemptions",
            },
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["user"], name="idx_subscriptions_user_id"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["status"], name="idx_subscriptions_status"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["end_date"], name="idx_subscriptions_end_date"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["provider_sub_id"], name="idx_provider_sub_id"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(("next_action_at__isnull", False)),
                fields=["next_action_at"],
                name="idx_subscriptions_next_action",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["pending", "trial", "active", "past_due", "suspended", "paused", "cancelled", "expired"],
                    )
                ),
                name="subscriptions_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("billing_cycle__in", ["daily", "weekly", "monthly", "yearly"])),
                name="subscriptions_billing_cycle",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gte", 0)), name="subscriptions_amount_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="subscriptions_amount_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("overlaps__isnull", True), ("status__in", ["trial", "active", "past_due", "suspended", "paused"])
                ),
                fields=("user", "family"),
                name="uniq_subscriptions_live",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "pending")), fields=("user", "family"), name="uniq_subscriptions_pending"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(
                condition=models.Q(("provider_sub_id__isnull", False)),
                fields=("provider", "provider_sub_id"),
                name="uniq_subscriptions_provider_sub_id",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("status__in", ["pending", "trial", "past_due"]), _negated=True),
                        models.Q(("end_date__isnull", False), ("status", "active"), _negated=True),
                    ),
                    ("next_action_at__isnull", False),
                    _connector="OR",
                ),
                name="subscriptions_next_action_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("end_date__isnull", True), ("end_date__gte", models.F("start_date")), _connector="OR"
                ),
                name="subscriptions_end_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="providerlink",
            constraint=models.UniqueConstraint(fields=("provider", "provider_sub_id"), name="uniq_provider_links_ref"),
        ),
        migrations.AddIndex(
            model_name="checkout",
            index=models.Index(fields=["user", "-created_at"], name="idx_checkouts_user"),
        ),
        migrations.AddConstraint(
            model_name="checkout",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["open", "paid", "expired", "superseded", "unknown"])),
                name="checkouts_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="checkout",
            constraint=models.CheckConstraint(
                condition=models.Q(("purpose__in", ["subscribe", "change", "invoice", "topup", "move"])),
                name="checkouts_purpose",
            ),
        ),
        migrations.AddConstraint(
            model_name="checkout",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gte", 0)), name="checkouts_amount_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="checkout",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="checkouts_amount_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="checkout",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["open", "unknown"])),
                fields=("subscription", "purpose"),
                name="uniq_checkouts_open",
            ),
        ),
        migrations.AddIndex(
            model_name="billingperiod",
            index=models.Index(fields=["subscription", "-start"], name="idx_billing_periods_sub"),
        ),
        migrations.AddConstraint(
            model_name="billingperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("source__in", ["checkout", "renewal", "trial", "provider", "change", "resume", "manual"])
                ),
                name="billing_periods_source",
            ),
        ),
        migrations.AddConstraint(
            model_name="billingperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gte", 0)), name="billing_periods_amount_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="billingperiod",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="billing_periods_amount_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="billingperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(("end__gt", models.F("start"))), name="billing_periods_half_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionevent",
            constraint=models.UniqueConstraint(
                fields=("subscription", "sequence"), name="uniq_subscription_events_sequence"
            ),
        ),
        migrations.AddConstraint(
            model_name="trialredemption",
            constraint=models.UniqueConstraint(fields=("user", "family"), name="uniq_trial_redemptions"),
        ),
    ]
