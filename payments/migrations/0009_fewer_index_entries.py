"""Indexes hold what is looked for, and no more: each entry is written for every charge.

Those of nullable references leave out who has none, and nobody looks for the beginning of a key (`…_like` is what Django
adds to a unique text for that). The new ones are built beside the traffic, before the old ones go.
"""

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

#: Index: table and column.
BEGINNINGS = {
    "invoices_number_6197e1da_like": "invoices (number",
    "ledger_postings_key_5866d74a_like": "ledger_postings (key",
    "payment_transactions_idempotency_key_2984d934_like": "payment_transactions (idempotency_key",
}


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("payments", "0008_usage_invoices_open"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="ledgerposting",
            index=models.Index(
                condition=models.Q(("invoice__isnull", False)), fields=["invoice"], name="idx_ledger_postings_invoice"
            ),
        ),
        AddIndexConcurrently(
            model_name="ledgerposting",
            index=models.Index(
                condition=models.Q(("transaction__isnull", False)),
                fields=["transaction"],
                name="idx_ledger_postings_transact",
            ),
        ),
        AddIndexConcurrently(
            model_name="paymenttransaction",
            index=models.Index(
                condition=models.Q(("parent__isnull", False)), fields=["parent"], name="idx_payment_transactions_of"
            ),
        ),
        migrations.AlterField(
            model_name="ledgerposting",
            name="invoice",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="postings",
                to="payments.invoice",
            ),
        ),
        migrations.AlterField(
            model_name="ledgerposting",
            name="transaction",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="postings",
                to="payments.paymenttransaction",
            ),
        ),
        RemoveIndexConcurrently(model_name="paymenttransaction", name="idx_payment_transactions_par"),
        *(
            migrations.RunSQL(
                f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
                f"CREATE INDEX CONCURRENTLY {name} ON {column} varchar_pattern_ops)",
            )
            for name, column in BEGINNINGS.items()
        ),
    ]
