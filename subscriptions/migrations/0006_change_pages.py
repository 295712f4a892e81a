"""The index by which expired pages of changes are found; made without a lock on the table."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("subscriptions", "0005_price_moves"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="checkout",
            index=models.Index(
                condition=models.Q(("purpose", "change"), ("status__in", ["open", "unknown"])),
                fields=["expires_at"],
                name="idx_checkouts_change_pages",
            ),
        ),
    ]
