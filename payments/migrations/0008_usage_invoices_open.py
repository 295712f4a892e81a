"""The index by which open invoices of usage are found; made without a lock on the table."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("payments", "0007_reversed_refunds_checked")]

    operations = [
        AddIndexConcurrently(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("reason", "usage"), ("status", "open")),
                fields=["issued_at"],
                name="idx_invoices_usage_open",
            ),
        ),
    ]
