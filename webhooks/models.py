"""The mail room's tables: what providers sent us (the document's `webhook_events`)."""

from __future__ import annotations

from django.db import models

from payflow.core.fields import one_of
from payflow.core.models import Timestamped


class InboundStatus(models.TextChoices):
    RECEIVED = "received"
    PROCESSED = "processed"
    IGNORED = "ignored"
    FAILED = "failed"
    REVIEW = "review"
    REJECTED = "rejected"


class InboundEvent(Timestamped):
    """One delivery, kept as it came, before anybody believes it.

    `event_id` is the adapter's delivery key, unique with the provider where the signature is valid: a forged delivery
    must not occupy the key of a real one.
    """

    Status = InboundStatus

    provider = models.CharField(max_length=50)
    event_id = models.CharField(max_length=255)
    body = models.BinaryField()
    headers = models.JSONField(default=dict)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.RECEIVED)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, default="")
    processed_at = models.DateTimeField(null=True, blank=True)
    processed = models.GeneratedField(
        expression=models.Case(
            models.When(status__in=["processed", "ignored"], then=models.Value(True)), default=models.Value(False)
        ),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        db_table = "webhook_events"
        constraints = [
            one_of("status", InboundStatus, "webhook_events_status"),
            models.UniqueConstraint(
                fields=["provider", "event_id"],
                condition=~models.Q(status="rejected"),
                name="uniq_webhook_events_delivery",
            ),
        ]
        indexes = [
            models.Index(fields=["processed"], name="idx_webhook_events_processed"),
            models.Index(
                fields=["next_attempt_at"],
                name="idx_webhook_events_due",
                condition=models.Q(status__in=["received", "failed"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.event_id}"
