"""What can be bought: plans, their prices in other currencies, and their names at the providers."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed, Timestamped

#: Path segments under `/plans/`: a plan of that code could not be reached.
RESERVED_CODES = frozenset({"active", "compare", "analytics", "plans", "new"})


class Cycle(models.TextChoices):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class ProrationUnit(models.TextChoices):
    SECOND = "second"
    DAY = "day"


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
    trial_needs_method = models.BooleanField(
        default=True,
        db_default=True,
        help_text="a trial begins by a checkout that keeps a payment method; else at once",
    )
    proration_unit = models.CharField(
        max_length=10, choices=ProrationUnit.choices, null=True, blank=True, help_text="empty: the setting's"
    )
    features = models.JSONField(default=dict, blank=True)
    max_usage_per_day = models.PositiveIntegerField(null=True, blank=True, default=100)
    max_usage_per_month = models.PositiveIntegerField(null=True, blank=True, default=3000)
    family = models.SlugField(max_length=50, default="main", help_text="plans that one can switch between")
    is_active = models.BooleanField(default=True)
    sort_order = models.SmallIntegerField(default=0)
    priced_actions = ArrayField(
        models.CharField(max_length=50),
        default=list,
        db_default=[],
        blank=True,
        editable=False,
        help_text="every action that it prices, or did: who looks for a price looks here first",
    )

    class Meta:
        db_table = "plans"
        ordering = ["sort_order", "price", "code"]
        constraints = [
            one_of("billing_cycle", Cycle, "plans_billing_cycle"),
            not_negative("price", "plans_price_not_negative"),
            fits_currency("price", "plans_price_fits_currency"),
            models.CheckConstraint(condition=models.Q(billing_interval__gte=1), name="plans_interval_positive"),
            one_of("proration_unit", ProrationUnit, "plans_proration_unit"),
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


class PriceModel(models.TextChoices):
    """How units become an amount; the formulas are in `plans.pricing`."""

    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"


class Settlement(models.TextChoices):
    INVOICE = "invoice", "on the next invoice"
    CREDIT = "credit", "from credit, at the moment of use"


class ActionPrice(Keyed):
    """What a plan asks for the units of an action, in one currency.

    Never changed (trigger `action_prices_fixed`): another price is another row, and this one is retired. So whoever was sold
    this one goes on with it.
    """

    Model = PriceModel

    Settlement = Settlement

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="action_prices", db_index=False)
    action = models.CharField(max_length=50, validators=[RegexValidator(r"^[a-z0-9_.:-]{1,50}$")])
    currency = models.CharField(max_length=3)
    settlement = models.CharField(max_length=10, choices=Settlement.choices, default=Settlement.INVOICE)
    model = models.CharField(max_length=10, choices=PriceModel.choices, default=PriceModel.PER_UNIT)
    included = models.PositiveBigIntegerField(default=0, help_text="units of each period that cost nothing")
    unit_amount = models.DecimalField(
        max_digits=19,
        decimal_places=9,
        null=True,
        blank=True,
        help_text="of a unit, or of a package; finer than the currency's digits where it has to be",
    )
    package_size = models.PositiveIntegerField(null=True, blank=True)
    tiers = models.JSONField(
        default=list,
        blank=True,
        help_text='[{"up_to": 1000, "unit_amount": 0.01, "flat_amount": 0}, {"up_to": null, "unit_amount": 0.005}]',
    )
    starts_at = models.DateTimeField(help_text="who subscribes from then on is sold this")
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "action_prices"
        constraints = [
            one_of("settlement", Settlement, "action_prices_settlement"),
            one_of("model", PriceModel, "action_prices_model"),
            models.UniqueConstraint(
                fields=["plan", "currency", "action"],
                condition=models.Q(retired_at=None),
                name="uniq_action_prices_present",
            ),
            models.CheckConstraint(
                condition=models.Q(model__in=["per_unit", "package"], unit_amount__isnull=False, unit_amount__gte=0)
                | models.Q(model__in=["graduated", "volume"], unit_amount=None),
                name="action_prices_unit_amount",
            ),
            models.CheckConstraint(
                condition=models.Q(model="package", package_size__isnull=False, package_size__gte=1)
                | ~models.Q(model="package") & models.Q(package_size=None),
                name="action_prices_package_size",
            ),
            models.CheckConstraint(
                condition=models.Q(model__in=["graduated", "volume"]) & ~models.Q(tiers=[])
                | models.Q(model__in=["per_unit", "package"], tiers=[]),
                name="action_prices_tiers",
            ),
            models.CheckConstraint(
                condition=~models.Q(settlement="credit", model="volume"), name="action_prices_no_credit_by_volume"
            ),
            models.CheckConstraint(
                condition=models.Q(retired_at=None) | models.Q(retired_at__gte=models.F("starts_at")),
                name="action_prices_retired_after_start",
            ),
        ]
        indexes = [models.Index(fields=["plan", "action", "currency", "starts_at"], name="idx_action_prices_plan")]

    def __str__(self) -> str:
        return f"{self.action} ({self.currency}, {self.get_model_display()})"


class CouponKind(models.TextChoices):
    PERCENT = "percent"
    FIXED = "fixed"


class CouponDuration(models.TextChoices):
    ONCE = "once"
    CYCLES = "cycles"
    FOREVER = "forever"


class Coupon(Timestamped):
    """A discount: of which plans, for how many cycles, how often it may be taken. `redemptions` counts under its lock."""

    Kind = CouponKind

    Duration = CouponDuration

    code = models.CharField(max_length=50, unique=True, validators=[RegexValidator(r"^[A-Z0-9_-]{2,50}$")])
    name = models.CharField(max_length=100, blank=True, default="", help_text="as it stands on the invoice")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    percent = models.DecimalField(max_digits=7, decimal_places=4, null=True, blank=True)
    amount = AmountField(null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True, default="", help_text="of a fixed amount")
    duration = models.CharField(max_length=10, choices=Duration.choices, default=CouponDuration.ONCE)
    cycles = models.PositiveSmallIntegerField(null=True, blank=True)
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    max_redemptions = models.PositiveIntegerField(null=True, blank=True)
    redemptions = models.PositiveIntegerField(default=0)
    first_time_only = models.BooleanField(default=False, help_text="for who never paid for a subscription")
    plans = models.ManyToManyField(Plan, blank=True, related_name="coupons", db_table="coupon_plans")
    is_active = models.BooleanField(default=True)

    class Meta:
        db_table = "coupons"
        ordering = ["code"]
        constraints = [
            one_of("kind", CouponKind, "coupons_kind"),
            one_of("duration", CouponDuration, "coupons_duration"),
            models.CheckConstraint(condition=models.Q(code__regex=r"^[A-Z0-9_-]{2,50}$"), name="coupons_code"),
            models.CheckConstraint(
                condition=models.Q(kind="percent", percent__gt=0, percent__lte=100, amount=None)
                | models.Q(kind="fixed", percent=None, amount__gt=0),
                name="coupons_percent_or_amount",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="percent", currency="") | models.Q(kind="fixed") & ~models.Q(currency=""),
                name="coupons_currency_of_amount",
            ),
            models.CheckConstraint(
                condition=models.Q(duration="cycles", cycles__gte=1)
                | ~models.Q(duration="cycles") & models.Q(cycles=None),
                name="coupons_cycles",
            ),
            models.CheckConstraint(
                condition=models.Q(max_redemptions=None) | models.Q(redemptions__lte=models.F("max_redemptions")),
                name="coupons_within_maximum",
            ),
            models.CheckConstraint(
                condition=models.Q(starts_at=None)
                | models.Q(ends_at=None)
                | models.Q(ends_at__gt=models.F("starts_at")),
                name="coupons_window",
            ),
            fits_currency("amount", "coupons_amount_fits_currency", nullable=True),
        ]

    def __str__(self) -> str:
        return self.code
