"""What changes the next invoices of a subscription: another plan or price, and coupons."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Timestamped
from plans.models import Coupon, Cycle, Plan
from subscriptions.models.subscriptions import Subscription


class ChangeEffective(models.TextChoices):
    ON_PAYMENT = "on_payment"
    PERIOD_END = "period_end"


class ChangeStatus(models.TextChoices):
    OPEN = "open"
    APPLIED = "applied"
    CANCELLED = "cancelled"


class ChangeReason(models.TextChoices):
    REQUESTED = "requested"
    PRICE_MOVE = "price_move"


class SubscriptionChange(Timestamped):
    """What a subscription will be: at the end of its period, or once the invoice of the change is paid. One open at a time.

    `quote` is what was promised, line by line; `effective_at` the moment from which it holds.
    """

    Effective = ChangeEffective

    Status = ChangeStatus

    Reason = ChangeReason

    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="changes", db_index=False)
    reason = models.CharField(max_length=20, choices=Reason.choices, default=ChangeReason.REQUESTED)
    status = models.CharField(max_length=20, choices=Status.choices, default=ChangeStatus.OPEN)
    effective = models.CharField(max_length=20, choices=Effective.choices)
    effective_at = models.DateTimeField()
    from_plan = models.ForeignKey(Plan, on_delete=models.RESTRICT, related_name="+")
    plan = models.ForeignKey(Plan, on_delete=models.RESTRICT, related_name="+")
    amount = AmountField()
    currency = models.CharField(max_length=3)
    billing_cycle = models.CharField(max_length=20, choices=Cycle.choices)
    billing_interval = models.PositiveSmallIntegerField(default=1)
    quote = models.JSONField(default=dict)
    invoice = models.ForeignKey(
        "payments.Invoice", null=True, blank=True, on_delete=models.RESTRICT, related_name="changes"
    )
    actor = models.CharField(max_length=120)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "subscription_changes"
        constraints = [
            one_of("status", ChangeStatus, "subscription_changes_status"),
            one_of("effective", ChangeEffective, "subscription_changes_effective"),
            one_of("reason", ChangeReason, "subscription_changes_reason"),
            one_of("billing_cycle", Cycle, "subscription_changes_billing_cycle"),
            not_negative("amount", "subscription_changes_amount_not_negative"),
            fits_currency("amount", "subscription_changes_amount_fits_currency"),
            models.UniqueConstraint(
                fields=["subscription"], condition=models.Q(status="open"), name="uniq_subscription_changes_open"
            ),
        ]
        indexes = [models.Index(fields=["subscription", "-created_at"], name="idx_subscription_changes_sub")]

    def __str__(self) -> str:
        return f"{self.from_plan_id} → {self.plan_id} {self.status}"


class RedemptionStatus(models.TextChoices):
    RESERVED = "reserved"
    ACTIVE = "active"
    ENDED = "ended"
    RELEASED = "released"


class CouponRedemption(Timestamped):
    """One user's use of a coupon: reserved by a checkout, active while it still lowers invoices, released if unpaid."""

    Status = RedemptionStatus

    coupon = models.ForeignKey(Coupon, on_delete=models.RESTRICT, related_name="taken")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="redemptions", db_index=False
    )
    subscription = models.ForeignKey(
        Subscription, on_delete=models.RESTRICT, related_name="redemptions", db_index=False
    )
    status = models.CharField(max_length=20, choices=Status.choices, default=RedemptionStatus.RESERVED)
    cycles = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="how many invoices it lowers; empty: all"
    )
    cycles_used = models.PositiveSmallIntegerField(default=0)

    class Meta:
        db_table = "coupon_redemptions"
        constraints = [
            one_of("status", RedemptionStatus, "coupon_redemptions_status"),
            models.CheckConstraint(
                condition=models.Q(cycles=None) | models.Q(cycles_used__lte=models.F("cycles")),
                name="coupon_redemptions_within_cycles",
            ),
            models.UniqueConstraint(
                fields=["user", "coupon"],
                condition=~models.Q(status="released"),
                name="uniq_coupon_redemptions_user",
            ),
            models.UniqueConstraint(
                fields=["subscription"],
                condition=models.Q(status__in=["reserved", "active"]),
                name="uniq_coupon_redemptions_subscription",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.coupon_id} {self.status}"


class SoldPlan(Plan):
    """A plan as its subscribers have it: for the operators' page that moves them to its present price."""

    class Meta:
        proxy = True
        verbose_name = "price move"
        verbose_name_plural = "price moves"
