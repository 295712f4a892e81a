"""When a subscription whose usage could not be billed by a sweep is tried again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0004_usage_take"),
    ]

    operations = [
        migrations.AddField(
            model_name="usagemeter",
            name="next_attempt_at",
            field=models.DateTimeField(
                blank=True,
                help_text="real time: its subscription could not be billed by a sweep, and is not tried before",
                null=True,
            ),
        ),
    ]
