"""Subscriptions, their transitions, and the one trial of a user."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed, Timestamped
from plans.models import Cycle, Plan

#: A provider's name of a subscription. A store's purchase token is one, of a length that nobody promises; this is what an
#: index takes at a byte a letter, with the provider's name beside it (a row of it has at most 2,704 bytes).
MAX_SUB_REF = 2000


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
    provider_sub_id = models.CharField(max_length=MAX_SUB_REF, null=True, blank=True)
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
    trial_notified_at = models.DateTimeField(null=True, blank=True, help_text="when the end of the trial was announced")
    disputed_at = models.DateTimeField(null=True, blank=True, help_text="a chargeback is open: nothing is charged")
    review_reason = models.CharField(
        max_length=100, blank=True, default="", db_default="", help_text="why an operator must look"
    )
    provider_seen_at = models.DateTimeField(null=True, blank=True, help_text="newest provider state applied")
    renewal_seen_at = models.DateTimeField(
        null=True, blank=True, help_text="newest provider news about whether it renews"
    )
    provider_checked_at = models.DateTimeField(
        null=True, blank=True, help_text="when the provider was last asked about it (real time)"
    )
    had_priced_actions = models.BooleanField(
        default=False, db_default=False, help_text="a plan that it has left prices actions: usage of it may come late"
    )
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
            models.Index(
                fields=["provider", "provider_checked_at"],
                name="idx_subscriptions_unchecked",
                condition=models.Q(
                    provider_sub_id__isnull=False,
                    status__in=["pending", "trial", "active", "past_due", "suspended", "paused"],
                ),
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
