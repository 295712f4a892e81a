"""A store's purchase token may be longer than 255 letters: the columns that keep one take 2,000.

PostgreSQL widens a varchar without reading the table, and keeps its whole indexes; a partial index that has to do with the
column it builds anew, under the table's lock. Those of the subscriptions are dropped before and built after it, beside the
traffic; meanwhile a whole index guards what the unique one does. Of the commands there are few: theirs are built under the
lock. Each step may be run again after a failure; the way back fails where a longer token is kept.
"""

from django.db import migrations, models

UNIQUE = "uniq_subscriptions_provider_sub_id"
UNCHECKED = "idx_subscriptions_unchecked"
#: Two rows without a name are not the same: it refuses what the partial one refuses.
GUARD = "subscriptions_sub_id_meanwhile"


def drop(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}"


#: The first statement takes away what a failure left half built.
BUILD_GUARD = [
    drop(GUARD),
    f"CREATE UNIQUE INDEX CONCURRENTLY {GUARD} ON subscriptions (provider, provider_sub_id)",
]
BUILD_PARTIAL = [
    drop(UNIQUE),
    f"CREATE UNIQUE INDEX CONCURRENTLY {UNIQUE} ON subscriptions (provider, provider_sub_id)"
    " WHERE provider_sub_id IS NOT NULL",
    drop(UNCHECKED),
    f"CREATE INDEX CONCURRENTLY {UNCHECKED} ON subscriptions (provider, provider_checked_at)"
    " WHERE provider_sub_id IS NOT NULL"
    " AND status IN ('pending', 'trial', 'active', 'past_due', 'suspended', 'paused')",
]
DROP_PARTIAL = [drop(UNIQUE), drop(UNCHECKED)]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("subscriptions", "0010_provider_moves")]

    operations = [
        migrations.RunSQL(BUILD_GUARD, drop(GUARD)),
        migrations.RunSQL(DROP_PARTIAL, BUILD_PARTIAL),
        migrations.AlterField(
            model_name="subscription",
            name="provider_sub_id",
            field=models.CharField(blank=True, max_length=2000, null=True),
        ),
        migrations.RunSQL(BUILD_PARTIAL, DROP_PARTIAL),
        migrations.RunSQL(drop(GUARD), BUILD_GUARD),
        migrations.AlterField(
            model_name="providerlink",
            name="provider_sub_id",
            field=models.CharField(max_length=2000),
        ),
        migrations.AlterField(
            model_name="providercommand",
            name="provider_sub_id",
            field=models.CharField(max_length=2000),
        ),
    ]
