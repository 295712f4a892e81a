"""Faults that can be switched on: the sandbox then does what real providers do on a bad day."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from payflow.core.locks import lock_rows
from providers.sandbox.models import FaultKind, SandboxFault


def fault_switch(*, account: str, kind: FaultKind, times: int | None, wall: datetime) -> None:
    """On for `times` occasions, None for all that come; 0 switches it off."""
    SandboxFault.objects.update_or_create(
        account=account, kind=kind, defaults={"remaining": times, "switched_on_at": wall}
    )


def fault_take(*, account: str, kind: FaultKind) -> SandboxFault | None:
    """The fault where it is on; one occasion fewer is left of it."""
    on = SandboxFault.objects.filter(account=account, kind=kind).exclude(remaining=0)
    if not on.exists():
        return None
    with transaction.atomic():
        for fault in lock_rows(on):
            if fault.remaining is not None:
                fault.remaining -= 1
                fault.save(update_fields=["remaining"])
            return fault
    return None
