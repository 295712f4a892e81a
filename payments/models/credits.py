"""Customer credit: one account per user and currency, grants that fill it, uses that empty it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed, Timestamped
from payments.models.invoices import Invoice


class CreditAccount(Timestamped):
    """What a user may still spend in one currency. Locked by whoever changes it; never below zero."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="credit_accounts")
    currency = models.CharField(max_length=3)
    balance = AmountField(default=0)

    class Meta:
        db_table = "credit_accounts"
        constraints = [
            models.UniqueConstraint(fields=["user", "currency"], name="uniq_credit_accounts_currency"),
            not_negative("balance", "credit_accounts_balance_not_negative"),
            fits_currency("balance", "credit_accounts_balance_fits_currency"),
        ]

    def __str__(self) -> str:
        return f"{self.balance} {self.currency}"


class CreditSource(models.TextChoices):
    """Where a grant came from; the ledger takes it from the account that belongs to it."""

    GOODWILL = "goodwill"
    UNUSED_TIME = "unused_time"
    PAYMENT = "payment"


class CreditGrant(Keyed):
    """An amount given, and what is left of it. `key` names the fact, so that it is granted once."""

    Source = CreditSource

    account = models.ForeignKey(CreditAccount, on_delete=models.RESTRICT, related_name="grants", db_index=False)
    key = models.CharField(max_length=160, unique=True)
    source = models.CharField(max_length=20, choices=Source.choices)
    reason = models.CharField(max_length=255)
    amount = AmountField()
    remaining = AmountField()
    currency = models.CharField(max_length=3)
    tax = AmountField(default=0, help_text="of unused time: the part that was tax, no longer owed")
    expires_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)
    explanation = models.JSONField(default=dict, blank=True)

    class Meta:
        db_table = "credit_grants"
        constraints = [
            one_of("source", CreditSource, "credit_grants_source"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="credit_grants_amount_positive"),
            models.CheckConstraint(
                condition=models.Q(remaining__gte=0, remaining__lte=models.F("amount")),
                name="credit_grants_remaining_within_amount",
            ),
            models.CheckConstraint(
                condition=models.Q(tax__gte=0, tax__lte=models.F("amount")), name="credit_grants_tax_within_amount"
            ),
            fits_currency("amount", "credit_grants_amount_fits_currency"),
            fits_currency("remaining", "credit_grants_remaining_fits_currency"),
        ]
        indexes = [
            models.Index(
                fields=["account", "expires_at"], name="idx_credit_grants_usable", condition=models.Q(remaining__gt=0)
            ),
            models.Index(
                fields=["expires_at"],
                name="idx_credit_grants_expiry",
                condition=models.Q(remaining__gt=0, expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}: {self.reason}"


class CreditUse(Keyed):
    """A part of a grant that was spent: on an invoice, or as you go (`key` names the use). Given back where it is void."""

    grant = models.ForeignKey(CreditGrant, on_delete=models.RESTRICT, related_name="uses")
    invoice = models.ForeignKey(Invoice, null=True, blank=True, on_delete=models.RESTRICT, related_name="credit_uses")
    key = models.CharField(max_length=160, help_text="one use may take from several grants")
    amount = AmountField()
    currency = models.CharField(max_length=3)
    returned_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "credit_uses"
        constraints = [
            models.UniqueConstraint(fields=["key", "grant"], name="uniq_credit_uses_key"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="credit_uses_amount_positive"),
            fits_currency("amount", "credit_uses_amount_fits_currency"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"
