"""Money: invoices, transactions, stored methods, the ledger.

`subscription_id` points up by name only; nothing here imports what stands above.
"""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed, Timestamped
from payflow.core.money import Money


class PaymentMethod(Timestamped):
    """A method that the provider keeps for later charges. Never a card number."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="payment_methods")
    provider = models.CharField(max_length=50)
    method_ref = models.CharField(max_length=255)
    customer_ref = models.CharField(max_length=255, blank=True, default="")
    kind = models.CharField(max_length=50, default="card")
    brand = models.CharField(max_length=50, blank=True, default="")
    last4 = models.CharField(max_length=4, blank=True, default="")
    is_active = models.BooleanField(default=True)

    class Meta:
        db_table = "payment_methods"
        constraints = [models.UniqueConstraint(fields=["provider", "method_ref"], name="uniq_payment_methods_ref")]

    def __str__(self) -> str:
        return f"{self.brand or self.kind} ••{self.last4}" if self.last4 else self.kind


class InvoiceStatus(models.TextChoices):
    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


class InvoiceReason(models.TextChoices):
    CREATE = "create"
    CYCLE = "cycle"
    CHANGE = "change"
    USAGE = "usage"
    MANUAL = "manual"


class Invoice(Timestamped):
    """A claim. Its number is taken when it is issued (draft to open); what is issued never changes."""

    Status = InvoiceStatus

    Reason = InvoiceReason

    number = models.CharField(max_length=32, null=True, blank=True, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="invoices", db_index=False
    )
    subscription = models.ForeignKey(
        "subscriptions.Subscription",
        null=True,
        blank=True,
        on_delete=models.RESTRICT,
        related_name="invoices",
        db_index=False,
    )
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.DRAFT)
    reason = models.CharField(max_length=20, choices=Reason.choices)
    currency = models.CharField(max_length=3)
    subtotal = AmountField(default=Decimal(0))
    discount = AmountField(default=Decimal(0))
    tax = AmountField(default=Decimal(0))
    credit = AmountField(default=Decimal(0), help_text="customer credit consumed at issue")
    total = AmountField(default=Decimal(0), help_text="subtotal - discount + tax - credit: what money must settle")
    merchant_of_record = models.BooleanField(default=False, help_text="sold by the provider: internal, unnumbered")
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    issued_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "invoices"
        constraints = [
            one_of("status", InvoiceStatus, "invoices_status"),
            one_of("reason", InvoiceReason, "invoices_reason"),
            not_negative("total", "invoices_total_not_negative"),
            fits_currency("total", "invoices_total_fits_currency"),
            models.CheckConstraint(
                condition=models.Q(
                    total=models.F("subtotal") - models.F("discount") + models.F("tax") - models.F("credit")
                ),
                name="invoices_total_adds_up",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["draft", "void"])
                | models.Q(merchant_of_record=True)
                | models.Q(number__isnull=False, issued_at__isnull=False),
                name="invoices_issued_has_number",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "-created_at"], name="idx_invoices_user"),
            models.Index(fields=["subscription", "status"], name="idx_invoices_subscription"),
        ]

    def __str__(self) -> str:
        return self.number or f"draft {str(self.pk)[-12:]}"


class LineKind(models.TextChoices):
    PLAN = "plan"
    PRORATION_CREDIT = "proration_credit"
    PRORATION_CHARGE = "proration_charge"
    USAGE = "usage"
    DISCOUNT = "discount"
    TAX = "tax"
    CREDIT = "credit"
    MANUAL = "manual"


class InvoiceLine(Keyed):
    """One amount of an invoice with the inputs of its formula: the answer to *why this amount*."""

    Kind = LineKind

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines", db_index=False)
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    description = models.CharField(max_length=255)
    quantity = models.DecimalField(max_digits=19, decimal_places=4, default=Decimal(1))
    unit_amount = AmountField()
    amount = AmountField()
    currency = models.CharField(max_length=3)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    explanation = models.JSONField(default=dict)

    class Meta:
        db_table = "invoice_lines"
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "position"], name="uniq_invoice_lines_position"),
            one_of("kind", LineKind, "invoice_lines_kind"),
            fits_currency("amount", "invoice_lines_amount_fits_currency"),
        ]

    def __str__(self) -> str:
        return self.description


class TransactionType(models.TextChoices):
    CHARGE = "charge"
    REFUND = "refund"
    CHARGEBACK = "chargeback"


class TransactionStatus(models.TextChoices):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUNDED = "refunded"


class PaymentTransaction(Timestamped):
    """One movement of money: the documents' `payment_transactions` and `transactions` in one table.

    A completed charge without an invoice is an *unapplied* payment: recorded, granting nothing.
    """

    Type = TransactionType

    Status = TransactionStatus

    subscription = models.ForeignKey(
        "subscriptions.Subscription",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="transactions",
        db_index=False,
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="transactions", db_index=False
    )
    invoice = models.ForeignKey(Invoice, null=True, blank=True, on_delete=models.RESTRICT, related_name="transactions")
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.RESTRICT, related_name="children", db_index=False
    )
    provider = models.CharField(max_length=50)
    provider_txn_id = models.CharField(max_length=255, null=True, blank=True)
    type = models.CharField(max_length=20, choices=Type.choices)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    amount = AmountField()
    currency = models.CharField(max_length=3, default="USD")
    refunded_amount = AmountField(default=Decimal(0), help_text="of a charge: refunded or reserved by pending refunds")
    method = models.ForeignKey(PaymentMethod, null=True, blank=True, on_delete=models.RESTRICT)
    payment_method = models.CharField(max_length=50, null=True, blank=True)
    idempotency_key = models.CharField(max_length=255, unique=True)
    attempt = models.PositiveSmallIntegerField(default=1)
    failure_code = models.CharField(max_length=100, blank=True, default="")
    recoverable = models.BooleanField(default=True, help_text="of a failure: may asking again succeed?")
    reason = models.CharField(max_length=255, blank=True, default="")
    gateway_response = models.JSONField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "payment_transactions"
        constraints = [
            one_of("status", TransactionStatus, "payment_transactions_status"),
            one_of("type", TransactionType, "payment_transactions_type"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="payment_transactions_amount_positive"),
            fits_currency("amount", "payment_transactions_amount_fits_currency"),
            models.CheckConstraint(
                condition=models.Q(refunded_amount__gte=0, refunded_amount__lte=models.F("amount")),
                name="payment_transactions_refunded_at_most_amount",
            ),
            models.CheckConstraint(
                condition=models.Q(type="charge") | models.Q(parent__isnull=False),
                name="payment_transactions_reversal_has_parent",
            ),
            models.UniqueConstraint(
                fields=["provider", "provider_txn_id", "type"],
                condition=models.Q(provider_txn_id__isnull=False),
                name="uniq_payment_transactions_money_key",
            ),
            models.UniqueConstraint(
                fields=["invoice"],
                condition=models.Q(type="charge", status__in=["pending", "completed", "refunded"]),
                name="uniq_payment_transactions_charge_per_invoice",
            ),
        ]
        indexes = [
            # idx_payment_transactions_user_id and idx_payment_transactions_status, the document's, have names that are
            # too long for the ORM: migration 0003 makes them.
            models.Index(fields=["subscription", "-created_at"], name="idx_subscription_id"),
            models.Index(fields=["parent"], name="idx_payment_transactions_par"),
            models.Index(
                fields=["provider", "created_at"],
                name="idx_payment_unapplied",
                condition=models.Q(type="charge", status="completed", invoice__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {Money.rounded(self.amount, self.currency)} {self.status}"


class NumberCounter(models.Model):
    """The last number of a gapless series. Locked last in every transaction."""

    series = models.CharField(max_length=32)
    year = models.PositiveSmallIntegerField()
    last = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "number_counters"
        constraints = [models.UniqueConstraint(fields=["series", "year"], name="uniq_number_counters_series")]

    def __str__(self) -> str:
        return f"{self.series} {self.year}: {self.last}"


class Account(models.TextChoices):
    """The ledger's accounts. Debits are positive, credits negative."""

    RECEIVABLE = "receivable"
    CLEARING = "provider_clearing"
    UNAPPLIED = "unapplied_payments"
    REVENUE = "revenue"
    DISCOUNTS = "discounts"
    TAX = "tax"
    CUSTOMER_CREDIT = "customer_credit"
    REFUNDS = "refunds"
    CHARGEBACKS = "chargebacks"
    WRITE_OFF = "write_off"


class LedgerPosting(Keyed):
    """One fact in the books. `key` names the fact, so that it is posted once. Append-only."""

    key = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=40)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="+")
    invoice = models.ForeignKey(Invoice, null=True, blank=True, on_delete=models.RESTRICT, related_name="postings")
    transaction = models.ForeignKey(
        PaymentTransaction, null=True, blank=True, on_delete=models.RESTRICT, related_name="postings"
    )

    class Meta:
        db_table = "ledger_postings"

    def __str__(self) -> str:
        return self.key


class LedgerEntry(Keyed):
    """One side of a posting. The entries of a posting sum to zero, or the transaction does not commit."""

    posting = models.ForeignKey(LedgerPosting, on_delete=models.RESTRICT, related_name="entries")
    account = models.CharField(max_length=30, choices=Account.choices)
    provider = models.CharField(max_length=50, blank=True, default="")
    amount = AmountField(help_text="debit positive, credit negative")
    currency = models.CharField(max_length=3)

    class Meta:
        db_table = "ledger_entries"
        verbose_name_plural = "ledger entries"
        constraints = [
            one_of("account", Account, "ledger_entries_account"),
            fits_currency("amount", "ledger_entries_amount_fits_currency"),
            models.CheckConstraint(condition=~models.Q(amount=0), name="ledger_entries_amount_not_zero"),
        ]
        indexes = [models.Index(fields=["account", "provider", "currency"], name="idx_ledger_entries_account")]

    def __str__(self) -> str:
        return f"{self.account} {self.amount} {self.currency}"
