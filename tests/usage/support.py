"""What was written, to the unit."""

from __future__ import annotations

from usage.models import UsageCounter, UsageEvent, UsageLog


def written() -> tuple[int, int, int]:
    """Log rows, event keys, units in all counters together."""
    return UsageLog.objects.count(), UsageEvent.objects.count(), sum(counters().values())


def counters(**where) -> dict[tuple[str, str, str], int]:
    """(action, window, local date) -> used."""
    rows = UsageCounter.objects.filter(**where)
    return {(row.action, row.window, row.local_date.isoformat()): row.used for row in rows}
