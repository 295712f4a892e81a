"""The first document's counter of plan operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter

from payflow.core.errors import DomainError

OPERATIONS = Counter("payflow_plan_operations_total", "Total number of plan operations", ["operation", "status"])


@contextmanager
def counted(operation: str) -> Iterator[None]:
    """Counts what is inside as `success`, `refused` (the caller's fault) or `error` (ours)."""
    try:
        yield
    except DomainError:
        OPERATIONS.labels(operation, "refused").inc()
        raise
    except Exception:
        OPERATIONS.labels(operation, "error").inc()
        raise
    OPERATIONS.labels(operation, "success").inc()
