"""A refund may come back: it is reversed, once and for ever, and its charge is no longer refunded."""

from django.db import migrations, models

from payflow.core import sql

BEFORE = {
    "pending": ["completed", "failed"],
    "failed": ["completed"],
    "completed": ["refunded"],
}
AFTER = {
    "pending": ["completed", "failed", "reversed"],
    "failed": ["completed", "reversed"],
    "completed": ["refunded", "reversed"],
    "refunded": ["completed"],
}
DROP = sql.drop_trigger("payment_transactions", "payment_transactions_transition")
STATUS = "ALTER TABLE payment_transactions DROP CONSTRAINT payment_transactions_status;"
ADD_STATUS = (
    "ALTER TABLE payment_transactions ADD CONSTRAINT payment_transactions_status CHECK (status IN ({})) NOT VALID;"
)
WORDS = "'pending', 'completed', 'failed', 'refunded'"
IS_REFUND = models.CheckConstraint(
    condition=models.Q(("status", "reversed"), _negated=True) | models.Q(("type", "refund")),
    name="payment_transactions_reversed_is_refund",
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0005_checks_by_statement")]

    operations = [
        migrations.AlterField(
            model_name="paymenttransaction",
            name="status",
            field=models.CharField(
                choices=[
                    ("pending", "Pending"),
                    ("completed", "Completed"),
                    ("failed", "Failed"),
                    ("refunded", "Refunded"),
                    ("reversed", "Reversed"),
                ],
                default="pending",
                max_length=20,
            ),
        ),
        # NOT VALID takes its lock for a moment only; the next migration looks at the rows.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    STATUS + ADD_STATUS.format(f"{WORDS}, 'reversed'"),
                    STATUS + ADD_STATUS.format(WORDS),
                ),
                migrations.RunSQL(
                    "ALTER TABLE payment_transactions ADD CONSTRAINT payment_transactions_reversed_is_refund"
                    " CHECK (status <> 'reversed' OR type = 'refund') NOT VALID",
                    "ALTER TABLE payment_transactions DROP CONSTRAINT payment_transactions_reversed_is_refund",
                ),
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name="paymenttransaction", name="payment_transactions_status"),
                migrations.AddConstraint(
                    model_name="paymenttransaction",
                    constraint=models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "completed", "failed", "refunded", "reversed"])),
                        name="payment_transactions_status",
                    ),
                ),
                migrations.AddConstraint(model_name="paymenttransaction", constraint=IS_REFUND),
            ],
        ),
        migrations.RunSQL(
            DROP + sql.transition_trigger("payment_transactions", AFTER),
            DROP + sql.transition_trigger("payment_transactions", BEFORE),
        ),
    ]
