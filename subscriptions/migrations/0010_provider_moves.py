"""Moves of subscribers from one provider to another, and how far each of them is."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import payflow.core.fields
import payflow.core.ids
from payflow.core import sql

MEMBERS = {
    "preparing": ["invited", "moved", "left", "failed"],
    "invited": ["moved", "left"],
    "left": ["preparing"],
    "failed": ["preparing", "left"],
}
MOVES = {"active": ["paused", "ended"], "paused": ["active", "ended"]}


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0009_one_wish_of_each_provider"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProviderMove",
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
                ("from_provider", models.CharField(max_length=50)),
                ("to_provider", models.CharField(max_length=50)),
                (
                    "percent",
                    models.PositiveSmallIntegerField(
                        default=100, help_text="the share of the subscribers who move, 1 to 100"
                    ),
                ),
                (
                    "days_before",
                    models.PositiveSmallIntegerField(
                        default=3, help_text="the link is sent so many days before the paid period ends, 1 to 30"
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "Active"), ("paused", "Paused"), ("ended", "Ended")],
                        default="active",
                        max_length=20,
                    ),
                ),
                ("actor", models.CharField(max_length=120)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "provider_moves",
            },
        ),
        migrations.CreateModel(
            name="ProviderMoveMember",
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
                            ("preparing", "link being made"),
                            ("invited", "Invited"),
                            ("moved", "Moved"),
                            ("left", "left alone"),
                            ("failed", "Failed"),
                        ],
                        max_length=20,
                    ),
                ),
                ("period_start", models.DateTimeField()),
                ("price", payflow.core.fields.AmountField(decimal_places=4, max_digits=19)),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True)),
                ("moved_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "provider_move_members",
            },
        ),
        migrations.AddConstraint(
            model_name="providermove",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "paused", "ended"])), name="provider_moves_status"
            ),
        ),
        migrations.AddConstraint(
            model_name="providermove",
            constraint=models.CheckConstraint(
                condition=models.Q(("percent__gte", 1), ("percent__lte", 100)), name="provider_moves_percent_is_a_share"
            ),
        ),
        migrations.AddConstraint(
            model_name="providermove",
            constraint=models.CheckConstraint(
                condition=models.Q(("days_before__gte", 1), ("days_before__lte", 30)), name="provider_moves_days_before"
            ),
        ),
        migrations.AddConstraint(
            model_name="providermove",
            constraint=models.CheckConstraint(
                condition=models.Q(("from_provider", models.F("to_provider")), _negated=True),
                name="provider_moves_elsewhere",
            ),
        ),
        migrations.AddConstraint(
            model_name="providermove",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["active", "paused"])),
                fields=("from_provider",),
                name="uniq_provider_moves_open",
            ),
        ),
        migrations.AddField(
            model_name="providermovemember",
            name="checkout",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="subscriptions.checkout",
            ),
        ),
        migrations.AddField(
            model_name="providermovemember",
            name="move",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="members",
                to="subscriptions.providermove",
            ),
        ),
        migrations.AddField(
            model_name="providermovemember",
            name="subscription",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="moves",
                to="subscriptions.subscription",
            ),
        ),
        migrations.AddIndex(
            model_name="providermovemember",
            index=models.Index(fields=["move", "status"], name="idx_provider_move_members"),
        ),
        migrations.AddIndex(
            model_name="providermovemember",
            index=models.Index(
                condition=models.Q(("status__in", ["preparing", "invited"])),
                fields=["next_attempt_at"],
                name="idx_provider_move_members_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="providermovemember",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["preparing", "invited", "moved", "left", "failed"])),
                name="provider_move_members_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="providermovemember",
            constraint=models.CheckConstraint(
                condition=models.Q(("price__gte", 0)), name="provider_move_members_price_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="providermovemember",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("price"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="provider_move_members_price_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="providermovemember",
            constraint=models.UniqueConstraint(fields=("subscription", "move"), name="uniq_provider_move_members"),
        ),
        migrations.AddConstraint(
            model_name="providermovemember",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["preparing", "invited"])),
                fields=("subscription",),
                name="uniq_provider_move_members_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="providermovemember",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", ["preparing", "invited"]), _negated=True),
                    models.Q(("checkout__isnull", False), ("next_attempt_at__isnull", False)),
                    _connector="OR",
                ),
                name="provider_move_members_open_has_page",
            ),
        ),
        migrations.AddConstraint(
            model_name="providermovemember",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "moved"), _negated=True), ("moved_at__isnull", False), _connector="OR"
                ),
                name="provider_move_members_moved_at",
            ),
        ),
        *(
            migrations.RunSQL(sql.updated_at_trigger(table), sql.drop_trigger(table, f"update_{table}_updated_at"))
            for table in ["provider_moves", "provider_move_members"]
        ),
        migrations.RunSQL(
            sql.transition_trigger("provider_moves", MOVES),
            sql.drop_trigger("provider_moves", "provider_moves_transition"),
        ),
        migrations.RunSQL(
            sql.transition_trigger("provider_move_members", MEMBERS),
            sql.drop_trigger("provider_move_members", "provider_move_members_transition"),
        ),
    ]
