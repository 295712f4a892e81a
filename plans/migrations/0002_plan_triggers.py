"""`updated_at` by trigger, as in the document; reserved codes refused by the database too."""

from django.db import migrations

from payflow.core import sql

TABLES = ["plans", "plan_prices", "plan_provider_refs"]


class Migration(migrations.Migration):
    dependencies = [("plans", "0001_plans"), ("core", "0001_core_tables")]

    operations = [
        *(
            migrations.RunSQL(sql.updated_at_trigger(table), sql.drop_trigger(table, f"update_{table}_updated_at"))
            for table in TABLES
        ),
        migrations.RunSQL(
            "ALTER TABLE plans ADD CONSTRAINT plans_code_not_reserved"
            " CHECK (code NOT IN ('active', 'compare', 'analytics', 'plans', 'new'))",
            "ALTER TABLE plans DROP CONSTRAINT plans_code_not_reserved",
        ),
    ]
