"""What was billed or granted."""

from __future__ import annotations

from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed
from plans.models import Cycle, Plan
from subscriptions.models.subscriptions import Subscription


class PeriodSource(models.TextChoices):
    CHECKOUT = "checkout"
    RENEWAL = "renewal"
    TRIAL = "trial"
    PROVIDER = "provider"
    CHANGE = "change"
    RESUME = "resume"
    MANUAL = "manual"
    FORGIVEN = "forgiven"


class BillingPeriod(Keyed):
    """What was billed or granted: [start, end). An exclusion constraint refuses overlap of rows not superseded."""

    Source = PeriodSource

    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="periods", db_index=False)
    start = models.DateTimeField()
    end = models.DateTimeField()
    cycle = models.CharField(max_length=20, choices=Cycle.choices)
    plan = models.ForeignKey(Plan, on_delete=models.RESTRICT, related_name="+")
    amount = AmountField()
    currency = models.CharField(max_length=3)
    invoice = models.ForeignKey(
        "payments.Invoice", null=True, blank=True, on_delete=models.RESTRICT, related_name="periods"
    )
    source = models.CharField(max_length=20, choices=Source.choices)
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_periods"
        constraints = [
            one_of("source", PeriodSource, "billing_periods_source"),
            not_negative("amount", "billing_periods_amount_not_negative"),
            fits_currency("amount", "billing_periods_amount_fits_currency"),
            models.CheckConstraint(condition=models.Q(end__gt=models.F("start")), name="billing_periods_half_open"),
        ]
        indexes = [models.Index(fields=["subscription", "-start"], name="idx_billing_periods_sub")]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d} – {self.end:%Y-%m-%d}"
