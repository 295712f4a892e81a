"""Base classes of every table, and the tables of the core: clock, outbox, idempotency keys, audit."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from payflow.core.fields import one_of
from payflow.core.ids import uuid7


class Keyed(models.Model):
    """A UUIDv7 key and the moment of creation. Money and usage pass business time as `created_at`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class Timestamped(Keyed):
    """Rows that change. `updated_at` is written by the trigger `update_<table>_updated_at`, whoever changes the row."""

    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class ClockOffset(models.Model):
    """The one row by which business time is ahead of real time (`payflow.core.clock`)."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    ahead = models.DurationField()

    class Meta:
        db_table = "clock_offset"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="clock_offset_single_row")]


class OutboxEvent(Keyed):
    """A domain event, written in the transaction that made it true. Append-only."""

    type = models.CharField(max_length=80)
    subject_type = models.CharField(max_length=40)
    subject_id = models.UUIDField()
    payload = models.JSONField(default=dict)
    occurred_at = models.DateTimeField()

    class Meta:
        db_table = "outbox_events"
        indexes = [models.Index(fields=["subject_type", "subject_id", "created_at"], name="idx_outbox_subject")]

    def __str__(self) -> str:
        return f"{self.type} {self.subject_id}"


class HandlingStatus(models.TextChoices):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class OutboxHandling(Keyed):
    """What one handler has done about one event. Pending until it succeeded; `failed` after its last try."""

    Status = HandlingStatus

    event = models.ForeignKey(OutboxEvent, on_delete=models.CASCADE, related_name="handlings")
    handler = models.CharField(max_length=80)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    error = models.TextField(blank=True, default="")

    class Meta:
        db_table = "outbox_handlings"
        constraints = [
            models.UniqueConstraint(fields=["event", "handler"], name="uniq_outbox_handling"),
            one_of("status", HandlingStatus, "outbox_handlings_status"),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], name="idx_outbox_pending", condition=models.Q(status="pending"))
        ]

    def __str__(self) -> str:
        return f"{self.handler} {self.status}"


class KeyStatus(models.TextChoices):
    IN_FLIGHT = "in_flight"
    DONE = "done"


class IdempotencyKey(Keyed):
    """One `Idempotency-Key` of one principal: the request it stood for and the answer it got."""

    Status = KeyStatus

    principal = models.CharField(max_length=80)
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.IN_FLIGHT)
    claimed_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    response_status = models.PositiveSmallIntegerField(null=True)
    #: The JSON text as it was sent: a replay repeats it to the digit.
    response_body = models.TextField(null=True)

    class Meta:
        db_table = "idempotency_keys"
        constraints = [
            models.UniqueConstraint(fields=["principal", "key"], name="uniq_idempotency_key"),
            one_of("status", KeyStatus, "idempotency_keys_status"),
        ]

    def __str__(self) -> str:
        return f"{self.principal} {self.key}"


class AuditEntry(Keyed):
    """Who did what to which row, and why. Append-only."""

    actor = models.CharField(max_length=120)
    action = models.CharField(max_length=80)
    subject_type = models.CharField(max_length=40)
    subject_id = models.UUIDField()
    data = models.JSONField(default=dict)

    class Meta:
        db_table = "audit_entries"
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["subject_type", "subject_id", "created_at"], name="idx_audit_subject")]

    def __str__(self) -> str:
        return f"{self.actor} {self.action}"
