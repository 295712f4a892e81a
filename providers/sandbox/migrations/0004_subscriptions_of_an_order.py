"""What was bought under an order is looked up by it."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("sandbox", "0003_subscriptions")]

    operations = [
        AddIndexConcurrently(
            model_name="sandboxsubscription",
            index=models.Index(fields=["account", "order_ref"], name="idx_sandbox_subscription_order"),
        ),
    ]
