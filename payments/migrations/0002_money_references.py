import django.db.models.deletion
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("payments", "0001_money"),
        ("subscriptions", "0001_subscriptions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="invoice",
            name="subscription",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="invoices",
                to="subscriptions.subscription",
            ),
        ),
        migrations.AddField(
            model_name="invoice",
            name="user",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="invoices",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="invoice",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="payments.invoice"
            ),
        ),
        migrations.AddField(
            model_name="ledgerposting",
            name="invoice",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="postings",
                to="payments.invoice",
            ),
        ),
        migrations.AddField(
            model_name="ledgerposting",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="ledgerentry",
            name="posting",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT, related_name="entries", to="payments.ledgerposting"
            ),
        ),
        migrations.AddConstraint(
            model_name="numbercounter",
            constraint=models.UniqueConstraint(fields=("series", "year"), name="uniq_number_counters_series"),
        ),
        migrations.AddField(
            model_name="paymentmethod",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="payment_methods",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="paymenttransaction",
            name="invoice",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="transactions",
                to="payments.invoice",
            ),
        ),
        migrations.AddField(
            model_name="paymenttransaction",
            name="method",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.RESTRICT, to="payments.paymentmethod"
            ),
        ),
        migrations.AddField(
            model_name="paymenttransaction",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="children",
                to="payments.paymenttransaction",
            ),
        ),
        migrations.AddField(
            model_name="paymenttransaction",
            name="subscription",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="transactions",
                to="subscriptions.subscription",
            ),
        ),
        migrations.AddField(
            model_name="paymenttransaction",
            name="user",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="transactions",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="ledgerposting",
            name="transaction",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="postings",
                to="payments.paymenttransaction",
            ),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(fields=["user", "-created_at"], name="idx_invoices_user"),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(fields=["subscription", "status"], name="idx_invoices_subscription"),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["draft", "open", "paid", "void", "uncollectible"])),
                name="invoices_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason__in", ["create", "cycle", "change", "usage", "manual"])),
                name="invoices_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("total__gte", 0)), name="invoices_total_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("total"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="invoices_total_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "total",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    models.F("subtotal"), "-", models.F("discount")
                                ),
                                "+",
                                models.F("tax"),
                            ),
                            "-",
                            models.F("credit"),
                        ),
                    )
                ),
                name="invoices_total_adds_up",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["draft", "void"]),
                    ("merchant_of_record", True),
                    models.Q(("issued_at__isnull", False), ("number__isnull", False)),
                    _connector="OR",
                ),
                name="invoices_issued_has_number",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceline",
            constraint=models.UniqueConstraint(fields=("invoice", "position"), name="uniq_invoice_lines_position"),
        ),
        migrations.AddConstraint(
            model_name="invoiceline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "plan",
                            "proration_credit",
                            "proration_charge",
                            "usage",
                            "discount",
                            "tax",
                            "credit",
                            "manual",
                        ],
                    )
                ),
                name="invoice_lines_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceline",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="invoice_lines_amount_fits_currency",
            ),
        ),
        migrations.AddIndex(
            model_name="ledgerentry",
            index=models.Index(fields=["account", "provider", "currency"], name="idx_ledger_entries_account"),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "account__in",
                        [
                            "receivable",
                            "provider_clearing",
                            "unapplied_payments",
                            "revenue",
                            "discounts",
                            "tax",
                            "customer_credit",
                            "refunds",
                            "chargebacks",
                            "write_off",
                        ],
                    )
                ),
                name="ledger_entries_account",
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="ledger_entries_amount_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgerentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount", 0), _negated=True), name="ledger_entries_amount_not_zero"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentmethod",
            constraint=models.UniqueConstraint(fields=("provider", "method_ref"), name="uniq_payment_methods_ref"),
        ),
        migrations.AddIndex(
            model_name="paymenttransaction",
            index=models.Index(fields=["subscription", "-created_at"], name="idx_subscription_id"),
        ),
        migrations.AddIndex(
            model_name="paymenttransaction",
            index=models.Index(fields=["parent"], name="idx_payment_transactions_par"),
        ),
        migrations.AddIndex(
            model_name="paymenttransaction",
            index=models.Index(
                condition=models.Q(("invoice__isnull", True), ("status", "completed"), ("type", "charge")),
                fields=["provider", "created_at"],
                name="idx_payment_unapplied",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "completed", "failed", "refunded"])),
                name="payment_transactions_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("type__in", ["charge", "refund", "chargeback"])), name="payment_transactions_type"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="payment_transactions_amount_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.CheckConstraint(
                condition=models.Func(
                    models.F("amount"),
                    models.F("currency"),
                    function="fits_currency",
                    output_field=models.BooleanField(),
                ),
                name="payment_transactions_amount_fits_currency",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("refunded_amount__gte", 0), ("refunded_amount__lte", models.F("amount"))),
                name="payment_transactions_refunded_at_most_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("type", "charge"), ("parent__isnull", False), _connector="OR"),
                name="payment_transactions_reversal_has_parent",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("provider_txn_id__isnull", False)),
                fields=("provider", "provider_txn_id", "type"),
                name="uniq_payment_transactions_money_key",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymenttransaction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["pending", "completed", "refunded"]), ("type", "charge")),
                fields=("invoice",),
                name="uniq_payment_transactions_charge_per_invoice",
            ),
        ),
    ]
