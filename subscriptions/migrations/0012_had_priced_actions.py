"""Who has left a plan that prices actions may still owe for them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0011_long_purchase_tokens"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="had_priced_actions",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="a plan that it has left prices actions: usage of it may come late",
            ),
        ),
    ]
