"""The outbox: domain events written in the transaction that made them true, handled at least once after it.

One handling row per handler, so that a failing e-mail does not repeat a cache invalidation. Drained at once on commit,
swept if that failed.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from payflow.core import audit, clock
from payflow.core.errors import InvalidTransition, NotFound
from payflow.core.ids import uuid7_text
from payflow.core.locks import claim_rows, lock_rows
from payflow.core.models import HandlingStatus, OutboxEvent, OutboxHandling
from payflow.core.nudges import nudge
from payflow.core.registry import Occurrence, registered
from payflow.core.sets import tuples_insert

#: Pauses after the first, second, … failure of a handler; after the last one it is marked failed.
RETRY_AFTER = [timedelta(seconds=s) for s in (5, 30, 300, 1800, 7200, 21600)]
#: While one worker handles a row, the others leave it alone for this long.
LEASE = timedelta(minutes=2)
BATCH = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fact:
    """A domain event before it is written."""

    type: str
    subject_type: str
    subject_id: uuid.UUID
    payload: dict[str, Any]


def emit(*, type: str, subject_type: str, subject_id: uuid.UUID, payload: dict[str, Any], at: datetime) -> None:
    """Writes a domain event and one row per handler that wants its type. Belongs inside the fact's transaction."""
    emit_all([Fact(type, subject_type, subject_id, payload)], at=at)


def emit_all(facts: Sequence[Fact], *, at: datetime) -> None:
    """Writes many domain events, in their order, in two statements."""
    events = [(uuid7_text(), fact) for fact in facts]
    tuples_insert(
        OutboxEvent,
        ("id", "type", "subject_type", "subject_id", "payload", "occurred_at"),
        ((key, fact.type, fact.subject_type, fact.subject_id, fact.payload, at) for key, fact in events),
    )
    due, pending = clock.wall(), HandlingStatus.PENDING.value
    handlings = [
        (uuid7_text(), key, handler.name, pending, 0, due, "")
        for key, fact in events
        for handler in registered.outbox_handlers.values()
        if fact.type in handler.types
    ]
    if handlings:
        tuples_insert(
            OutboxHandling, ("id", "event_id", "handler", "status", "attempts", "next_attempt_at", "error"), handlings
        )
        drain_soon()


def handlers_of(type: str) -> list[str]:
    """Who wants events of this type: for the SQL function `outbox_emit` (payflow.core.sql), which writes one by itself."""
    return [handler.name for handler in registered.outbox_handlers.values() if type in handler.types]


def drain_soon() -> None:
    """Wakes a worker once the present transaction has committed; who emitted by SQL calls it."""
    nudge("payflow.core.tasks.run_sweep", "outbox")


def outbox_drain(*, now: datetime, wall: datetime) -> int:
    """Handles a batch of what is due and returns how many rows it took."""
    del now  # retries run on real time
    with transaction.atomic():
        claimed = claim_rows(
            OutboxHandling.objects.filter(status=OutboxHandling.Status.PENDING, next_attempt_at__lte=wall)
            .order_by("next_attempt_at")
            .select_related("event"),
            limit=BATCH,
        )
        OutboxHandling.objects.filter(pk__in=[row.pk for row in claimed]).update(next_attempt_at=wall + LEASE)
    for row in claimed:
        if clock.wall() >= wall + LEASE:
            break  # by now the rest may be another worker's
        _handle(row, wall)
    return len(claimed)


def outbox_retry(*, handling_id: uuid.UUID, actor: str, wall: datetime) -> OutboxHandling:
    """Lets a handler try again that has given up, or waits. Raises NotFound, InvalidTransition where it is done."""
    with transaction.atomic():
        rows = lock_rows(OutboxHandling.objects.filter(pk=handling_id))
        if not rows:
            raise NotFound("There is no such handling")
        row = rows[0]
        if row.status == OutboxHandling.Status.DONE:
            raise InvalidTransition("This was done already")
        row.status, row.attempts, row.next_attempt_at = OutboxHandling.Status.PENDING, 0, wall
        row.save()
        audit.record(actor=actor, action="outbox.retry", subject_type="outbox_handling", subject_id=row.pk, data={})
        drain_soon()
    return row


def _handle(row: OutboxHandling, wall: datetime) -> None:
    handler = registered.outbox_handlers.get(row.handler)
    event = row.event
    row.attempts += 1
    try:
        if handler is None:
            raise LookupError(f"no handler is registered as {row.handler}")
        handler.handle(Occurrence(event.pk, event.type, event.subject_id, event.payload, event.occurred_at))
    except Exception as error:
        log.exception("outbox handler %s failed on %s", row.handler, event.pk)
        row.error = _storable(f"{type(error).__name__}: {error}")[:1000]
        if row.attempts > len(RETRY_AFTER):
            row.status = OutboxHandling.Status.FAILED
        else:
            row.next_attempt_at = wall + RETRY_AFTER[row.attempts - 1]
    else:
        row.status, row.error = OutboxHandling.Status.DONE, ""
    # Only while pending: who outlived his lease doesn't undo what another has done.
    OutboxHandling.objects.filter(pk=row.pk, status=OutboxHandling.Status.PENDING).update(
        status=row.status, attempts=row.attempts, next_attempt_at=row.next_attempt_at, error=row.error
    )


def _storable(text: str) -> str:
    """Foreign bytes in an error's text must not keep the row from being written."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
