"""Unknown transitions and overlapping billing periods are refused; events are append-only.

The exclusion constraint needs uuid equality in GiST. A range type over uuid gives it with PostgreSQL's core alone, where
btree_gist would be an extension that many installations lack.
"""

from django.db import migrations

from payflow.core import sql

SUBSCRIPTIONS = {
    "pending": ["active", "trial", "expired", "cancelled"],
    "trial": ["active", "past_due", "expired", "cancelled"],
    "active": ["past_due", "suspended", "paused", "cancelled", "expired"],
    "past_due": ["active", "suspended", "cancelled", "expired"],
    "suspended": ["active", "cancelled", "expired"],
    "paused": ["active", "past_due", "cancelled", "expired"],
    "expired": ["active"],
    "cancelled": ["active"],
}
CHECKOUTS = {
    "unknown": ["open", "paid", "expired", "superseded"],
    "open": ["paid", "expired", "superseded"],
    "expired": ["paid"],
    "superseded": ["paid"],
}


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0001_subscriptions"), ("core", "0001_core_tables")]

    operations = [
        *(
            migrations.RunSQL(sql.updated_at_trigger(table), sql.drop_trigger(table, f"update_{table}_updated_at"))
            for table in ["subscriptions", "checkouts"]
        ),
        migrations.RunSQL(
            sql.transition_trigger("subscriptions", SUBSCRIPTIONS),
            sql.drop_trigger("subscriptions", "subscriptions_transition"),
        ),
        migrations.RunSQL(
            sql.transition_trigger("checkouts", CHECKOUTS), sql.drop_trigger("checkouts", "checkouts_transition")
        ),
        migrations.RunSQL(
            sql.append_only_trigger("subscription_events"),
            sql.drop_trigger("subscription_events", "subscription_events_append_only"),
        ),
        migrations.RunSQL("CREATE TYPE uuid_range AS RANGE (subtype = uuid)", "DROP TYPE uuid_range"),
        migrations.RunSQL(
            "ALTER TABLE billing_periods ADD CONSTRAINT billing_periods_no_overlap EXCLUDE USING gist ("
            "uuid_range(subscription_id, subscription_id, '[]') WITH &&, tstzrange(start, \"end\") WITH &&"
            ") WHERE (superseded_at IS NULL)",
            "ALTER TABLE billing_periods DROP CONSTRAINT billing_periods_no_overlap",
        ),
    ]
