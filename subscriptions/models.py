"""Subscriptions, what was billed for them, attempts to buy, and their links to providers."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed, Timestamped
from plans.models import Cycle, Plan


class Status(models.TextChoices):
    """A subscription's states; the allowed steps are in `subscriptions.state`."""

    PENDING = "pending"
    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    SUSPENDED = "suspended"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


LIVE = frozenset({Status.TRIAL, Status.ACTIVE, Status.PAST_DUE, Status.SUSPENDED, Status.PAUSED})


class Subscription(Timestamped):
    """The documents' `subscriptions`. Amount, currency and cycle are copies: a period never reads the plan.

    `end_date` is the end of the paid period: null for a free plan, `start_date` while pending, `trial_ends_at` in trial.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="subscriptions", db_index=False
    )
    plan = models.ForeignKey(Plan, on_delete=models.RESTRICT, related_name="subscriptions")
    family = models.SlugField(max_length=50, default="main")
    status = models.CharField(max_length=20, choices=Status.choices)
    provider = models.CharField(max_length=50, null=True, blank=True)
    provider_sub_id = models.CharField(max_length=255, null=True, blank=True)
    start_date = models.DateTimeField()
    end_date = models.DateTimeField(null=True, blank=True)
    anchor = models.DateTimeField(help_text="periods are counted from here")
    timezone = models.CharField(max_length=64, default="UTC")
    current_period_start = models.DateTimeField(null=True, blank=True)
    trial_ends_at = models.DateTimeField(null=True, blank=True)
    grace_until = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    suspended_at = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    resumes_at = models.DateTimeField(null=True, blank=True)
    auto_renew = models.BooleanField(default=True)
    payment_method = models.ForeignKey(
        "payments.PaymentMethod", null=True, blank=True, on_delete=models.SET_NULL, related_name="subscriptions"
    )
    amount = AmountField()
    currency = models.CharField(max_length=3, default="USD")
    billing_cycle = models.CharField(max_length=20, choices=Cycle.choices)
    billing_interval = models.PositiveSmallIntegerField(default=1)
    dunning_from = models.DateTimeField(
        null=True,
        blank=True,
        help_text="grace and retries count from here: the due date, later only by our own downtime",
    )
    dunning_step = models.PositiveSmallIntegerField(default=0, help_text="scheduled retries of the open invoice so far")
    provider_seen_at = models.DateTimeField(null=True, blank=True, help_text="newest provider state applied")
    overlaps = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="overlapped_by")
    next_action_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "subscriptions"
        constraints = [
            one_of("status", Status, "subscriptions_status"),
            one_of("billing_cycle", Cycle, "subscriptions_billing_cycle"),
            not_negative("amount", "subscriptions_amount_not_negative"),
            fits_currency("amount", "subscriptions_amount_fits_currency"),
            models.UniqueConstraint(
                fields=["user", "family"],
                condition=models.Q(
                    status__in=["trial", "active", "past_due", "suspended", "paused"], overlaps__isnull=True
                ),
                name="uniq_subscriptions_live",
            ),
            models.UniqueConstraint(
                fields=["user", "family"], condition=models.Q(status="pending"), name="uniq_subscriptions_pending"
            ),
            models.UniqueConstraint(
                fields=["provider", "provider_sub_id"],
                condition=models.Q(provider_sub_id__isnull=False),
                name="uniq_subscriptions_provider_sub_id",
            ),
            models.CheckConstraint(
                condition=~models.Q(status__in=["pending", "trial", "past_due"])
                & ~models.Q(status="active", end_date__isnull=False)
                | models.Q(next_action_at__isnull=False),
                name="subscriptions_next_action_known",
            ),
            models.CheckConstraint(
                condition=models.Q(end_date__isnull=True) | models.Q(end_date__gte=models.F("start_date")),
                name="subscriptions_end_after_start",
            ),
        ]
        indexes = [
            models.Index(fields=["user"], name="idx_subscriptions_user_id"),
            models.Index(fields=["status"], name="idx_subscriptions_status"),
            models.Index(fields=["end_date"], name="idx_subscriptions_end_date"),
            models.Index(fields=["provider_sub_id"], name="idx_provider_sub_id"),
            models.Index(
                fields=["next_action_at"],
                name="idx_subscriptions_next_action",
                condition=models.Q(next_action_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"subscription …{str(self.pk)[-12:]} ({self.status})"

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def is_free(self) -> bool:
        return bool(self.amount == 0)


class PeriodSource(models.TextChoices):
    CHECKOUT = "checkout"
    RENEWAL = "renewal"
    TRIAL = "trial"
    PROVIDER = "provider"
    CHANGE = "change"
    RESUME = "resume"
    MANUAL = "manual"


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


class CheckoutPurpose(models.TextChoices):
    SUBSCRIBE = "subscribe"
    CHANGE = "change"
    INVOICE = "invoice"
    TOPUP = "topup"
    MOVE = "move"


class CheckoutStatus(models.TextChoices):
    OPEN = "open"
    PAID = "paid"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"


class Checkout(Timestamped):
    """One attempt to buy, committed before the provider hears of it. After a timeout the next POST resumes the row."""

    Purpose = CheckoutPurpose

    Status = CheckoutStatus

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="checkouts", db_index=False
    )
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    subscription = models.ForeignKey(
        Subscription, null=True, blank=True, on_delete=models.RESTRICT, related_name="checkouts"
    )
    invoice = models.ForeignKey(
        "payments.Invoice", null=True, blank=True, on_delete=models.RESTRICT, related_name="checkouts"
    )
    provider = models.CharField(max_length=50)
    order_ref = models.CharField(max_length=64, unique=True)
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.RESTRICT, related_name="+")
    amount = AmountField()
    currency = models.CharField(max_length=3)
    trial_days = models.PositiveSmallIntegerField(default=0)
    url = models.TextField(blank=True, default="")
    success_url = models.TextField(blank=True, default="")
    cancel_url = models.TextField(blank=True, default="")
    expires_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.UNKNOWN)

    class Meta:
        db_table = "checkouts"
        constraints = [
            one_of("status", CheckoutStatus, "checkouts_status"),
            one_of("purpose", CheckoutPurpose, "checkouts_purpose"),
            not_negative("amount", "checkouts_amount_not_negative"),
            fits_currency("amount", "checkouts_amount_fits_currency"),
            models.UniqueConstraint(
                fields=["subscription", "purpose"],
                condition=models.Q(status__in=["open", "unknown"]),
                name="uniq_checkouts_open",
            ),
        ]
        indexes = [models.Index(fields=["user", "-created_at"], name="idx_checkouts_user")]

    def __str__(self) -> str:
        return f"{self.purpose} {self.order_ref}"


class ProviderLink(Keyed):
    """A provider's name for a subscription. Old links still match its events after a move."""

    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="links")
    provider = models.CharField(max_length=50)
    provider_sub_id = models.CharField(max_length=255)

    class Meta:
        db_table = "provider_links"
        constraints = [models.UniqueConstraint(fields=["provider", "provider_sub_id"], name="uniq_provider_links_ref")]

    def __str__(self) -> str:
        return f"{self.provider}:{self.provider_sub_id}"


class SubscriptionEvent(Keyed):
    """One transition: from, to, why, who, when. `sequence` counts per subscription, under its lock. Append-only."""

    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="events", db_index=False)
    sequence = models.PositiveIntegerField()
    from_status = models.CharField(max_length=20, blank=True, default="")
    to_status = models.CharField(max_length=20)
    reason = models.CharField(max_length=100)
    actor = models.CharField(max_length=120)
    at = models.DateTimeField()

    class Meta:
        db_table = "subscription_events"
        constraints = [
            models.UniqueConstraint(fields=["subscription", "sequence"], name="uniq_subscription_events_sequence")
        ]

    def __str__(self) -> str:
        return f"{self.from_status or '—'} → {self.to_status}: {self.reason}"


class TrialRedemption(Keyed):
    """One trial per user and family, for ever."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="trials", db_index=False)
    family = models.SlugField(max_length=50)
    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="+")

    class Meta:
        db_table = "trial_redemptions"
        constraints = [models.UniqueConstraint(fields=["user", "family"], name="uniq_trial_redemptions")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.family}"
