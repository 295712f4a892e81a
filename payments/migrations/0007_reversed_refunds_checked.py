"""The rows that are there are looked at, without a lock that keeps money from being written."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0006_reversed_refunds")]

    operations = [
        ValidateConstraint("paymenttransaction", "payment_transactions_status"),
        ValidateConstraint("paymenttransaction", "payment_transactions_reversed_is_refund"),
    ]
