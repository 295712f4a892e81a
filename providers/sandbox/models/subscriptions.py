"""What the sandbox sells by itself: products, the subscriptions to them, and what it told of those."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from payflow.core.fields import AmountField, fits_currency, one_of
from providers.sandbox.models.payments import MAX_URL, Public


class Cycle(models.TextChoices):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


class SandboxProduct(Public):
    """`product_ref` is its name in the API. A new price counts from each subscription's next renewal on."""

    PREFIX = "prod"

    product_ref = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    price = AmountField()
    currency = models.CharField(max_length=3)
    cycle = models.CharField(max_length=20, choices=Cycle.choices)
    every = models.PositiveSmallIntegerField(default=1)
    #: Of a purchase in the store; a checkout says itself how long its trial is.
    trial_days = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "sandbox_products"
        constraints = [
            models.UniqueConstraint(fields=["account", "product_ref"], name="uniq_sandbox_product_ref"),
            one_of("cycle", Cycle, "sandbox_products_cycle"),
            models.CheckConstraint(condition=Q(price__gt=0), name="sandbox_products_price"),
            models.CheckConstraint(condition=Q(every__gte=1), name="sandbox_products_every"),
            fits_currency("price", "sandbox_products_currency"),
        ]

    def __str__(self) -> str:
        return self.product_ref


class SubscriptionStatus(models.TextChoices):
    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    ON_HOLD = "on_hold"
    PAUSED = "paused"
    EXPIRED = "expired"
    REVOKED = "revoked"


class SandboxSubscription(Public):
    """Renewed by the sandbox itself. All its times are business time; period n ends n cycles after `anchor`."""

    PREFIX = "sub"

    Status = SubscriptionStatus

    idempotency_key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    #: Of a purchase in the store: what the app gives to who must attach it.
    purchase_token = models.CharField(max_length=64, unique=True, null=True)
    product = models.ForeignKey(SandboxProduct, on_delete=models.PROTECT, related_name="subscriptions")
    #: What it becomes at its next renewal.
    next_product = models.ForeignKey(SandboxProduct, null=True, on_delete=models.PROTECT, related_name="+")
    method = models.ForeignKey("sandbox.SandboxMethod", on_delete=models.PROTECT, related_name="subscriptions")
    #: The purchase that this one took over from.
    replaces = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="replaced_by")
    user_ref = models.CharField(max_length=255, blank=True)
    plan_ref = models.CharField(max_length=255, blank=True)
    order_ref = models.CharField(max_length=255, blank=True)
    hook_url = models.CharField(max_length=MAX_URL, blank=True)
    is_test = models.BooleanField(default=False)
    status = models.CharField(max_length=20, choices=Status.choices)
    auto_renew = models.BooleanField(default=True)
    anchor = models.DateTimeField()
    cycles = models.PositiveIntegerField(default=0)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    grace_until = models.DateTimeField(null=True)
    held_at = models.DateTimeField(null=True)
    #: How often the present renewal was declined, in grace and on hold each.
    declines = models.PositiveSmallIntegerField(default=0)
    #: How often it was charged at all: each charge has a key of its own.
    charges = models.PositiveIntegerField(default=0)
    #: Until then the purchase must be acknowledged; null where it was, or needs not be.
    acknowledge_by = models.DateTimeField(null=True)
    #: When something happens to it by itself.
    due_at = models.DateTimeField(null=True)
    #: When its state last changed.
    changed_at = models.DateTimeField()

    class Meta:
        db_table = "sandbox_subscriptions"
        constraints = [
            models.UniqueConstraint(fields=["account", "idempotency_key"], name="uniq_sandbox_subscription_key"),
            one_of("status", SubscriptionStatus, "sandbox_subscriptions_status"),
            models.CheckConstraint(condition=Q(period_end__gte=F("period_start")), name="sandbox_subscriptions_period"),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="idx_sandbox_subscription_due", condition=Q(due_at__isnull=False)),
            models.Index(fields=["account", "order_ref"], name="idx_sandbox_subscription_order"),
        ]

    def __str__(self) -> str:
        return self.ref

    @property
    def has_ended(self) -> bool:
        return self.status in (SubscriptionStatus.EXPIRED, SubscriptionStatus.REVOKED)


class SandboxEvent(Public):
    """What was to be told of a subscription, whether or not its delivery arrived. `created_at` is real time."""

    PREFIX = "log"

    event_id = models.CharField(max_length=40, unique=True)
    subscription = models.ForeignKey(SandboxSubscription, on_delete=models.PROTECT, related_name="told")
    body = models.TextField()
    #: Business time of the fact.
    occurred_at = models.DateTimeField()

    class Meta:
        db_table = "sandbox_events"
        indexes = [models.Index(fields=["account", "created_at", "id"], name="idx_sandbox_event_account")]

    def __str__(self) -> str:
        return self.event_id
