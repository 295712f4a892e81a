"""One wish at a time of each provider's subscription: one that was left may have something to hear beside its successor.

Indexes are built beside the traffic.
"""

from django.db import migrations, models

WISH = "status = 'pending' AND NOT (kind = 'acknowledge')"


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("subscriptions", "0008_unchecked_subscriptions")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY uniq_provider_commands_one_wish ON provider_commands"
                    f" (subscription_id, provider, provider_sub_id) WHERE {WISH}",
                    "DROP INDEX CONCURRENTLY uniq_provider_commands_one_wish",
                ),
                migrations.RunSQL(
                    "DROP INDEX CONCURRENTLY uniq_provider_commands_pending",
                    "CREATE UNIQUE INDEX CONCURRENTLY uniq_provider_commands_pending ON provider_commands"
                    f" (subscription_id) WHERE {WISH}",
                ),
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name="providercommand", name="uniq_provider_commands_pending"),
                migrations.AddConstraint(
                    model_name="providercommand",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("status", "pending"), models.Q(("kind", "acknowledge"), _negated=True)),
                        fields=("subscription", "provider", "provider_sub_id"),
                        name="uniq_provider_commands_one_wish",
                    ),
                ),
            ],
        ),
    ]
