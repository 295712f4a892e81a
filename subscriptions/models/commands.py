"""Wishes that a provider must carry out on a subscription of its own."""

from __future__ import annotations

from django.db import models

from payflow.core.fields import one_of
from payflow.core.models import Timestamped
from subscriptions.models.subscriptions import MAX_SUB_REF, Subscription


class CommandKind(models.TextChoices):
    CANCEL = "cancel", "cancel at the period's end"
    CANCEL_NOW = "cancel_now"
    RESUME = "resume"
    PAUSE = "pause"
    CHANGE = "change"
    ACKNOWLEDGE = "acknowledge"


class CommandStatus(models.TextChoices):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class ProviderCommand(Timestamped):
    """One wish: committed with the local intent, sent after the commit, again until the provider confirms or refuses.

    `deadline` (business time) is when it must have been heard at the latest: before it, an operator is alarmed.
    `next_attempt_at` is real time, and a lease while a worker asks.
    """

    Kind = CommandKind
    Status = CommandStatus

    subscription = models.ForeignKey(Subscription, on_delete=models.RESTRICT, related_name="commands", db_index=False)
    provider = models.CharField(max_length=50)
    provider_sub_id = models.CharField(max_length=MAX_SUB_REF)
    kind = models.CharField(max_length=20, choices=CommandKind.choices)
    arguments = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=20, choices=CommandStatus.choices, default=CommandStatus.PENDING)
    actor = models.CharField(max_length=120)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    deadline = models.DateTimeField(null=True, blank=True)
    alarmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        db_table = "provider_commands"
        constraints = [
            one_of("kind", CommandKind, "provider_commands_kind"),
            one_of("status", CommandStatus, "provider_commands_status"),
            models.UniqueConstraint(
                fields=["subscription", "provider", "provider_sub_id"],
                condition=models.Q(status="pending") & ~models.Q(kind="acknowledge"),
                name="uniq_provider_commands_one_wish",
            ),
            models.UniqueConstraint(
                fields=["provider", "provider_sub_id"],
                condition=models.Q(kind="acknowledge"),
                name="uniq_provider_commands_acknowledge",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="pending") | models.Q(next_attempt_at__isnull=False),
                name="provider_commands_pending_is_due",
            ),
        ]
        indexes = [
            models.Index(fields=["subscription", "-created_at"], name="idx_provider_commands_sub"),
            models.Index(
                fields=["next_attempt_at"], name="idx_provider_commands_due", condition=models.Q(status="pending")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.provider} ({self.status})"
