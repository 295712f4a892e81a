"""Unknown steps of changes and redemptions are refused; the new source of periods is validated without stopping writers."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations

from payflow.core import sql

CHANGES = {"open": ["applied", "cancelled"]}
# A late payment of an expired checkout takes its released coupon again.
REDEMPTIONS = {
    "reserved": ["active", "released"],
    "released": ["active"],
    "active": ["ended"],
}


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0003_changes_and_coupons"), ("core", "0001_core_tables")]

    operations = [
        ValidateConstraint("billingperiod", "billing_periods_source"),
        *(
            migrations.RunSQL(sql.updated_at_trigger(table), sql.drop_trigger(table, f"update_{table}_updated_at"))
            for table in ["subscription_changes", "coupon_redemptions"]
        ),
        migrations.RunSQL(
            sql.transition_trigger("subscription_changes", CHANGES),
            sql.drop_trigger("subscription_changes", "subscription_changes_transition"),
        ),
        migrations.RunSQL(
            sql.transition_trigger("coupon_redemptions", REDEMPTIONS),
            sql.drop_trigger("coupon_redemptions", "coupon_redemptions_transition"),
        ),
    ]
