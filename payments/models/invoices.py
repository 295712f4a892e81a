"""Claims: invoices, their lines, and the counter that numbers them. `subscription` points up by name only."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed, Timestamped


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
    tax = AmountField(default=Decimal(0), help_text="added to the price")
    tax_included = AmountField(
        default=Decimal(0), db_default=Decimal(0), help_text="contained in the price, and so in the subtotal"
    )
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
                condition=models.Q(tax_included=0)
                | models.Q(tax_included__gt=0, tax_included__lte=models.F("subtotal") - models.F("discount")),
                name="invoices_tax_included_in_price",
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
            models.Index(
                fields=["issued_at"],
                condition=models.Q(reason="usage", status="open"),
                name="idx_invoices_usage_open",
            ),
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
