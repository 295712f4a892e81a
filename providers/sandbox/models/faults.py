"""What the sandbox does wrong when it is told to."""

from __future__ import annotations

from django.db import models

from payflow.core.fields import one_of
from providers.sandbox.models.payments import Public


class FaultKind(models.TextChoices):
    LOSE = "lose", "deliveries are never sent"
    REPEAT = "repeat", "deliveries are sent twice"
    REORDER = "reorder", "deliveries are sent newest first"
    TIMEOUT = "timeout", "calls time out after they were done"


class SandboxFault(Public):
    """A fault of one account's, for `remaining` more occasions; None is until it is switched off."""

    PREFIX = "flt"

    Kind = FaultKind

    kind = models.CharField(max_length=20, choices=Kind.choices)
    remaining = models.PositiveIntegerField(null=True)
    #: Real time: news are turned around this moment.
    switched_on_at = models.DateTimeField()

    class Meta:
        db_table = "sandbox_faults"
        constraints = [
            models.UniqueConstraint(fields=["account", "kind"], name="uniq_sandbox_fault"),
            one_of("kind", FaultKind, "sandbox_faults_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {'always' if self.remaining is None else self.remaining}"
