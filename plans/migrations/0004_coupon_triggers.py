"""`updated_at` of coupons by trigger, as everywhere."""

from django.db import migrations

from payflow.core import sql


class Migration(migrations.Migration):
    dependencies = [("plans", "0003_coupons"), ("core", "0001_core_tables")]

    operations = [
        migrations.RunSQL(sql.updated_at_trigger("coupons"), sql.drop_trigger("coupons", "update_coupons_updated_at"))
    ]
