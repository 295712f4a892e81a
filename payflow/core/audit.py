"""Who did what: one line per act of an operator, a service or a customer that changed something."""

from __future__ import annotations

import uuid
from typing import Any

from payflow.core.models import AuditEntry


def record(*, actor: str, action: str, subject_type: str, subject_id: uuid.UUID, data: dict[str, Any]) -> None:
    """Writes the entry in the caller's transaction. `actor` is `user:<id>`, `key:<id>` or `system`."""
    AuditEntry.objects.create(actor=actor, action=action, subject_type=subject_type, subject_id=subject_id, data=data)
