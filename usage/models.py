"""Usage: the partitioned log, the keys that make an event count once, and the counters that decide limits.

The three are written by one statement (`usage.statement`); no other code inserts into them.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from payflow.core.fields import AmountField, fits_currency, one_of
from payflow.core.ids import uuid7
from payflow.core.models import Keyed


class Window(models.TextChoices):
    DAY = "day"
    MONTH = "month"
    ALL = "all"
    PERIOD = "period"


#: The action name of the counters over all actions.
ALL_ACTIONS = "*"


class UsageLog(models.Model):
    """The document's `usage_logs`, partitioned by month of `created_at`. The table's key is (id, created_at)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, related_name="usage_logs", db_index=False
    )
    subscription = models.ForeignKey(
        "subscriptions.Subscription",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        related_name="usage_logs",
        db_index=False,
    )
    action = models.CharField(max_length=50)
    content_id = models.CharField(max_length=255, null=True, blank=True)
    quantity = models.PositiveIntegerField(default=1)
    event_id = models.CharField(max_length=255, null=True, blank=True)
    metadata = models.JSONField(null=True, blank=True)
    occurred_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "usage_logs"
        indexes = [
            models.Index(fields=["user", "-created_at"], name="idx_usage_logs_user_id"),
            models.Index(fields=["created_at"], name="idx_usage_logs_created_at"),
        ]

    def __str__(self) -> str:
        return f"{self.action} x{self.quantity}"


class UsageEvent(models.Model):
    """The caller's `event_id`, and the answer it got: the same id again gets the same answer and counts nothing."""

    pk = models.CompositePrimaryKey("user_id", "event_id")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="+", db_index=False)
    event_id = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    answer = models.JSONField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "usage_events"

    def __str__(self) -> str:
        return self.event_id


class UsageCounter(models.Model):
    """How much of an action (or of all, `*`) was used in one window, which starts at a date of the user's own zone."""

    pk = models.CompositePrimaryKey("user_id", "family", "action", "window", "local_date")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="usage_counters", db_index=False
    )
    family = models.CharField(max_length=50)
    action = models.CharField(max_length=50)
    window = models.CharField(max_length=10, choices=Window.choices)
    local_date = models.DateField()
    used = models.BigIntegerField(default=0)

    class Meta:
        db_table = "usage_counters"
        constraints = [one_of("window", Window, "usage_counters_window")]

    def __str__(self) -> str:
        return f"{self.action} {self.window} {self.local_date}: {self.used}"


class UsageMeter(Keyed):
    """How much of a priced action was used in one cycle of a subscription, by one price, and how much of it is settled.

    A cycle is named by its instant, not by a date: two that begin on one day, or two plans in one cycle, are two meters.
    Who uses raises `used`; who bills, under the subscription's lock, sets `billed` (units) and `charged` (what they were
    charged). What is drawn from credit is settled as it is used.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.RESTRICT, related_name="+", db_index=False)
    subscription = models.ForeignKey(
        "subscriptions.Subscription",
        null=True,
        blank=True,
        on_delete=models.RESTRICT,
        related_name="usage_meters",
        db_index=False,
        help_text="none: the plan of everybody",
    )
    price = models.ForeignKey("plans.ActionPrice", on_delete=models.RESTRICT, related_name="+", db_index=False)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    used = models.BigIntegerField(default=0)
    billed = models.BigIntegerField(default=0)
    charged = AmountField(default=0)
    currency = models.CharField(max_length=3)
    next_attempt_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="real time: its subscription could not be billed by a sweep, and is not tried before",
    )

    class Meta:
        db_table = "usage_meters"
        constraints = [
            models.UniqueConstraint(
                fields=["user", "price", "subscription", "period_start"],
                nulls_distinct=False,
                name="uniq_usage_meters_period",
            ),
            models.CheckConstraint(
                condition=models.Q(billed__gte=0, billed__lte=models.F("used")), name="usage_meters_billed_is_used"
            ),
            models.CheckConstraint(
                condition=models.Q(period_end__gt=models.F("period_start")), name="usage_meters_half_open"
            ),
            models.CheckConstraint(condition=models.Q(charged__gte=0), name="usage_meters_charged_not_negative"),
            fits_currency("charged", "usage_meters_charged_fits_currency"),
        ]
        indexes = [
            models.Index(
                fields=["subscription", "period_start"],
                condition=~models.Q(used=models.F("billed")),
                name="idx_usage_meters_unbilled",
            )
        ]

    def __str__(self) -> str:
        return f"{self.used} since {self.period_start:%Y-%m-%d}"
