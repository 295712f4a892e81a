"""Pages of counters keep room for the next version of their rows: raising one then makes no new index entry.

Full pages, as they were, sent nearly every version to another page, with an entry in the key's index each. Rows written
before keep their pages until they are raised. The lock is of the kind that VACUUM takes: uses go on.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0005_usage_meters_wait"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE usage_counters SET (fillfactor = 70)", "ALTER TABLE usage_counters RESET (fillfactor)"
        ),
    ]
