"""`updated_at` by trigger; a rejected delivery stays rejected."""

from django.db import migrations

from payflow.core import sql

EVENTS = {
    "received": ["processed", "ignored", "failed", "review"],
    "failed": ["received", "processed", "ignored", "review"],
    "review": ["received"],
    "processed": ["received"],
    "ignored": ["received"],
}


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0001_webhook_events"), ("core", "0001_core_tables")]

    operations = [
        migrations.RunSQL(
            sql.updated_at_trigger("webhook_events"),
            sql.drop_trigger("webhook_events", "update_webhook_events_updated_at"),
        ),
        migrations.RunSQL(
            sql.transition_trigger("webhook_events", EVENTS),
            sql.drop_trigger("webhook_events", "webhook_events_transition"),
        ),
    ]
