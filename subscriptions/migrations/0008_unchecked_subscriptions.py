"""The index by which the daily check finds its rows; built beside the traffic on a big table."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("subscriptions", "0007_provider_commands")]

    operations = [
        AddIndexConcurrently(
            model_name="subscription",
            index=models.Index(
                fields=["provider", "provider_checked_at"],
                name="idx_subscriptions_unchecked",
                condition=models.Q(
                    provider_sub_id__isnull=False,
                    status__in=["pending", "trial", "active", "past_due", "suspended", "paused"],
                ),
            ),
        ),
    ]
