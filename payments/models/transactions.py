"""Money that moves: stored methods and transactions."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from payflow.core.fields import AmountField, fits_currency, one_of
from payflow.core.models import Timestamped
from payflow.core.money import Money
from payments.models.invoices import Invoice


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


class TransactionType(models.TextChoices):
    CHARGE = "charge"
    REFUND = "refund"
    CHARGEBACK = "chargeback"


class TransactionStatus(models.TextChoices):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUNDED = "refunded"
    REVERSED = "reversed"


class PaymentTransaction(Timestamped):
    """One movement of money: the documents' `payment_transactions` and `transactions` in one table.

    A completed charge without an invoice is an *unapplied* payment: recorded, granting nothing. A chargeback is pending
    while its dispute is open, completed when it is lost and failed when it is won. A refund that came back is reversed. Of a
    refund `metadata["over"]` is what it moved beyond what was left of its charge.
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
    recorded_at = models.DateTimeField(
        db_default=Now(), editable=False, help_text="real time of the intent: what a day's charges are counted by"
    )

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
            models.CheckConstraint(
                condition=~models.Q(status="reversed") | models.Q(type="refund"),
                name="payment_transactions_reversed_is_refund",
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
            models.Index(
                fields=["parent"], name="idx_payment_transactions_of", condition=models.Q(parent__isnull=False)
            ),
            models.Index(
                fields=["provider", "created_at"],
                name="idx_payment_unapplied",
                condition=models.Q(type="charge", status="completed", invoice__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {Money.rounded(self.amount, self.currency)} {self.status}"
