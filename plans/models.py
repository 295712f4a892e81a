"""What can be bought: plans, their prices in other currencies, and their names at the providers."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Timestamped

#: Path segments under `/plans/`: a plan of that code could not be reached.
RESERVED_CODES = frozenset({"active", "compare", "analytics", "plans", "new"})


class Cycle(models.TextChoices):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class Plan(Timestamped):
    """The document's `plans` table. A price change touches nobody who has subscribed: subscriptions carry copies."""

    code = models.SlugField(max_length=50, unique=True)
    name = models.CharField(max_length=100)
    description = models.TextField(null=True, blank=True)
    price = AmountField()
    currency = models.CharField(max_length=3, default="USD", validators=[RegexValidator(r"^[A-Z]{3}$")])
    billing_cycle = models.CharField(max_length=20, choices=Cycle.choices)
    billing_interval = models.PositiveSmallIntegerField(default=1, help_text="every n cycles")
    trial_days = models.PositiveSmallIntegerField(default=0)
    features = models.JSONField(default=dict, blank=True)
    max_usage_per_day = models.PositiveIntegerField(null=True, blank=True, default=100)
    max_usage_per_month = models.PositiveIntegerField(null=True, blank=True, default=3000)
    family = models.SlugField(max_length=50, default="main", help_text="plans that one can switch between")
    is_active = models.BooleanField(default=True)
    sort_order = models.SmallIntegerField(default=0)

    class Meta:
        db_table = "plans"
        ordering = ["sort_order", "price", "code"]
        constraints = [
            one_of("billing_cycle", Cycle, "plans_billing_cycle"),
            not_negative("price", "plans_price_not_negative"),
            fits_currency("price", "plans_price_fits_currency"),
            models.CheckConstraint(condition=models.Q(billing_interval__gte=1), name="plans_interval_positive"),
        ]
        indexes = [
            models.Index(fields=["sort_order", "price"], name="idx_plans_active", condition=models.Q(is_active=True))
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_free(self) -> bool:
        return bool(self.price == 0)


class PlanPrice(Timestamped):
    """The plan's price in another currency than its own."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="prices")
    currency = models.CharField(max_length=3)
    amount = AmountField()

    class Meta:
        db_table = "plan_prices"
        constraints = [
            models.UniqueConstraint(fields=["plan", "currency"], name="uniq_plan_prices_currency"),
            not_negative("amount", "plan_prices_amount_not_negative"),
            fits_currency("amount", "plan_prices_amount_fits_currency"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class PlanProviderRef(Timestamped):
    """The store's or provider's product that stands for a plan."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="provider_refs")
    provider = models.CharField(max_length=50)
    ref = models.CharField(max_length=255)
    currency = models.CharField(max_length=3, blank=True, default="")

    class Meta:
        db_table = "plan_provider_refs"
        constraints = [models.UniqueConstraint(fields=["provider", "ref"], name="uniq_plan_provider_refs_ref")]

    def __str__(self) -> str:
        return f"{self.provider}:{self.ref}"
