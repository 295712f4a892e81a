"""Where the upper floors announce themselves to the lower ones, from their `ready()`.

Sweeps (work found by querying for what is due), health checks, outbox handlers and preparations for time travel. The
floor that calls them imports none of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol


class SweepRun(Protocol):
    """Does what is due and returns how many rows it took: 0 means that nothing is left to do now."""

    def __call__(self, *, now: datetime, wall: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """Due work. `next_due(after)` is the earliest business moment later than `after` at which there will be some."""

    name: str
    run: SweepRun
    every: timedelta
    next_due: Callable[[datetime], datetime | None] | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A domain event as an outbox handler sees it."""

    id: uuid.UUID
    type: str
    subject_id: uuid.UUID
    payload: dict[str, Any]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxHandler:
    """`handle` is called at least once for every event whose type is in `types`, outside any transaction."""

    name: str
    types: frozenset[str]
    handle: Callable[[Occurrence], None]


@dataclass(slots=True)
class Registry:
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    health_checks: dict[str, Callable[[], None]] = field(default_factory=dict)
    outbox_handlers: dict[str, OutboxHandler] = field(default_factory=dict)
    preparations: dict[str, Callable[[datetime], None]] = field(default_factory=dict)


registered = Registry()


def register_sweep(sweep: Sweep) -> None:
    registered.sweeps[sweep.name] = sweep


def register_health_check(name: str, check: Callable[[], None]) -> None:
    """`check` raises where the part is not usable."""
    registered.health_checks[name] = check


def register_outbox_handler(handler: OutboxHandler) -> None:
    registered.outbox_handlers[handler.name] = handler


def register_preparation(name: str, prepare: Callable[[datetime], None]) -> None:
    """`prepare(until)` runs before business time moves to `until` (usage partitions are made ahead)."""
    registered.preparations[name] = prepare
