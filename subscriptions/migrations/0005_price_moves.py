"""A proxy for the operators' page of price moves; no table."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("plans", "0004_coupon_triggers"),
        ("subscriptions", "0004_change_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name="SoldPlan",
            fields=[],
            options={
                "verbose_name": "price move",
                "verbose_name_plural": "price moves",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("plans.plan",),
        ),
    ]
