"""Validates without a lock that would stop writers."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_country")]

    operations = [ValidateConstraint("user", "users_country_code")]
