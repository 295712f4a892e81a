"""Usage: the partitioned log, the keys that make an event count once, and the counters that decide limits.

The three are written by one statement (`usage.statement`); no other code inserts into them.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from payflow.core.fields import one_of
from payflow.core.ids import uuid7


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
    billed = models.BigIntegerField(default=0)

    class Meta:
        db_table = "usage_counters"
        constraints = [one_of("window", Window, "usage_counters_window")]

    def __str__(self) -> str:
        return f"{self.action} {self.window} {self.local_date}: {self.used}"
