"""Attempts to buy, and the names that providers have for subscriptions."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from payflow.core.fields import AmountField, fits_currency, not_negative, one_of
from payflow.core.models import Keyed, Timestamped
from plans.models import Coupon, Plan
from subscriptions.models.subscriptions import MAX_SUB_REF, Subscription


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
    coupon = models.ForeignKey(
        Coupon, null=True, blank=True, on_delete=models.RESTRICT, related_name="+", db_index=False
    )
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
        indexes = [
            models.Index(fields=["user", "-created_at"], name="idx_checkouts_user"),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(purpose="change", status__in=["open", "unknown"]),
                name="idx_checkouts_change_pages",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.order_ref}"


class ProviderLink(Keyed):
    """A provider's name for a subscription. Old links still match its events after a move."""

    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="links")
    provider = models.CharField(max_length=50)
    provider_sub_id = models.CharField(max_length=MAX_SUB_REF)

    class Meta:
        db_table = "provider_links"
        constraints = [models.UniqueConstraint(fields=["provider", "provider_sub_id"], name="uniq_provider_links_ref")]

    def __str__(self) -> str:
        return f"{self.provider}:{self.provider_sub_id}"
