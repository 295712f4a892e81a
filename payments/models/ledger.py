"""The books: accounts, postings, entries, and what the last check of them found."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, one_of
from payflow.core.models import Keyed
from payments.models.invoices import Invoice
from payments.models.transactions import PaymentTransaction


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
    invoice = models.ForeignKey(
        Invoice, null=True, blank=True, on_delete=models.RESTRICT, related_name="postings", db_index=False
    )
    transaction = models.ForeignKey(
        PaymentTransaction, null=True, blank=True, on_delete=models.RESTRICT, related_name="postings", db_index=False
    )

    class Meta:
        db_table = "ledger_postings"
        # A fact is of an invoice or of a transaction: neither index holds the other half.
        indexes = [
            models.Index(
                fields=["invoice"], name="idx_ledger_postings_invoice", condition=models.Q(invoice__isnull=False)
            ),
            models.Index(
                fields=["transaction"],
                name="idx_ledger_postings_transact",
                condition=models.Q(transaction__isnull=False),
            ),
        ]

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


class LedgerCheck(Keyed):
    """What one run of `ledger_check` found. `faults` is empty where everything agrees."""

    finished_at = models.DateTimeField()
    checked = models.JSONField(default=dict, help_text="how many of each were looked at")
    faults = models.JSONField(default=list, blank=True)
    is_sound = models.BooleanField()

    class Meta:
        db_table = "ledger_checks"
        indexes = [models.Index(fields=["-created_at"], name="idx_ledger_checks_newest")]

    def __str__(self) -> str:
        return "sound" if self.is_sound else f"{self.fault_count} faults"

    @property
    def fault_count(self) -> int:
        """All of them; `faults` lists the first ones."""
        return sum(proof["faults"] for proof in self.checked.values())
