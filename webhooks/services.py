"""The mail room: verify the raw bytes, store, answer; believe and apply later, in a worker.

What is stored is never lost: the task is a nudge, the sweep finds what a lost nudge or a dead worker left behind. A
delivery that finds another one waiting, never tried, sends no nudge: that one's drain looks again until nothing is left. So a
storm puts a handful of messages into the queue, and other work keeps its turn.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from payflow.core import audit, clock
from payflow.core.errors import InvalidSignature, InvalidTransition, NotFound, PayloadTooLarge, ProviderUnavailable
from payflow.core.ids import uuid7
from payflow.core.locks import claim_rows, lock_rows
from payflow.core.nudges import nudge
from providers import registry
from providers.base import (
    MalformedError,
    Provider,
    RetryableVerifyError,
    SignatureError,
    Unavailable,
    WebhookAnswer,
)
from subscriptions.services.provider_events import Applied, NotKnownYet, Verdict, provider_event_apply
from webhooks.models import InboundEvent

Status = InboundEvent.Status

#: Pauses after the first, second, … failure; the last one repeats until MAX_ATTEMPTS, then an operator looks.
RETRY_AFTER = [timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 7200)]
MAX_ATTEMPTS = 12
#: While one worker processes an event the others leave it alone for this long.
LEASE = timedelta(minutes=2)
#: How long a message is believed to be on its way to a worker.
NUDGE_LASTS = timedelta(seconds=2)
#: How many a draining worker claims at once: so many wait for the lease where it is killed.
DRAIN_BATCH = 20
#: How many further workers the first message of a storm may call to help. Messages in the queue stay as few.
DRAIN_HELPERS = 7
#: Headers worth keeping; never credentials or signatures.
KEPT_HEADERS = frozenset({"content-type", "user-agent", "x-request-id"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as it came: header names in lower case, the body untouched."""

    provider: str
    headers: Mapping[str, str]
    body: bytes


def inbound_accept(*, delivery: Delivery, wall: datetime) -> WebhookAnswer:
    """Verifies and stores a delivery once, and returns the answer that its provider expects.

    A redelivery is answered like the first and stored no second time. Raises NotFound (unknown provider),
    PayloadTooLarge, InvalidSignature (the delivery is kept as rejected), ProviderUnavailable (could not be checked now).
    """
    provider = _provider(delivery.provider)
    if len(delivery.body) > provider.max_webhook_bytes:
        raise PayloadTooLarge
    try:
        provider.verify_webhook(delivery.headers, delivery.body, wall)
    except SignatureError as error:
        _keep_rejected(delivery, wall)
        raise InvalidSignature from error
    except RetryableVerifyError as error:
        raise ProviderUnavailable("The delivery could not be checked; send it again") from error
    try:
        key = provider.delivery_key(delivery.headers, delivery.body)
    except MalformedError:
        # Authentic but not understood: kept for an operator under the hash of its bytes.
        key = f"malformed:{hashlib.sha256(delivery.body).hexdigest()}"
    if _store(delivery, key, wall):
        inbound_nudge(helpers=DRAIN_HELPERS)
    return provider.webhook_response(delivery.headers, delivery.body, wall)


def inbound_nudge(*, helpers: int = 0) -> None:
    """Wakes a worker that drains the inbox, with `helpers` more where it is full."""
    nudge("webhooks.tasks.drain_inbound", str(helpers))


def inbound_process(*, event_id: uuid.UUID, now: datetime, wall: datetime) -> None:
    """Applies one stored delivery. Claimed first, so that two workers never process it at once; safe to call again."""
    event = _claim_one(event_id, wall)
    if event is not None:
        _process(event, now=now, wall=wall)


def inbound_sweep(*, now: datetime, wall: datetime, limit: int | None = None) -> int:
    """Processes a batch of what is due, at most `limit` (default: SWEEP_BATCH), and returns how many it took."""
    with transaction.atomic():
        due = InboundEvent.objects.filter(
            status__in=[Status.RECEIVED, Status.FAILED], next_attempt_at__lte=wall
        ).order_by("next_attempt_at")
        claimed = claim_rows(due, limit=limit or settings.SWEEP_BATCH)
        # Counted before it is tried: a delivery that takes its worker with it comes to an end too.
        InboundEvent.objects.filter(pk__in=[event.pk for event in claimed]).update(
            next_attempt_at=wall + LEASE, attempts=F("attempts") + 1
        )
    for event in claimed:
        if clock.wall() >= wall + LEASE:
            break  # by now the rest may be another worker's
        event.attempts += 1
        _process(event, now=now, wall=wall)
    return len(claimed)


def inbound_replay(*, event_id: uuid.UUID, actor: str, wall: datetime) -> InboundEvent:
    """Processes a stored delivery again. Raises NotFound, InvalidTransition for a rejected one."""
    with transaction.atomic():
        rows = lock_rows(InboundEvent.objects.filter(pk=event_id))
        if not rows:
            raise NotFound("There is no such event")
        event = rows[0]
        if event.status == Status.REJECTED:
            raise InvalidTransition("A delivery whose signature is not valid is never processed")
        event.status = Status.RECEIVED
        event.next_attempt_at = wall
        event.attempts = 0
        event.save()
        audit.record(actor=actor, action="webhook.replay", subject_type="webhook_event", subject_id=event.pk, data={})
        nudge("webhooks.tasks.process_inbound", str(event.pk))
    return event


def _provider(name: str) -> Provider:
    try:
        return registry.get(name)
    except registry.UnknownProvider as error:
        raise NotFound("There is no such payment provider") from error


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:500].replace("\0", "") for name, value in headers.items() if name in KEPT_HEADERS}


def _store(delivery: Delivery, key: str, wall: datetime) -> bool:
    """Inserts the delivery, unless its key is known; True where a worker must be told. One statement: this is the hot path.

    Nobody need be told while a delivery waits that came just before and was never tried: its worker is on the way. What waits
    for its retry or was left by a dead worker has none; what waits longer, its message is lost.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhook_events"
            " (id, provider, event_id, body, headers, status, attempts, error, next_attempt_at, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, 'received', 0, '', %s, %s, %s)"
            " ON CONFLICT (provider, event_id) WHERE NOT (status = 'rejected') DO NOTHING"
            " RETURNING NOT EXISTS (SELECT FROM webhook_events"
            " WHERE status = 'received' AND attempts = 0 AND next_attempt_at > %s AND next_attempt_at <= %s)",
            [
                uuid7(),
                delivery.provider,
                key,
                delivery.body,
                json.dumps(_kept_headers(delivery.headers)),
                wall,
                wall,
                wall,
                wall - NUDGE_LASTS,
                wall,
            ],
        )
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def _keep_rejected(delivery: Delivery, wall: datetime) -> None:
    InboundEvent.objects.create(
        provider=delivery.provider,
        event_id=f"rejected:{uuid7()}",
        body=delivery.body,
        headers=_kept_headers(delivery.headers),
        status=Status.REJECTED,
        error="the signature is not valid",
        created_at=wall,
    )


def _claim_one(event_id: uuid.UUID, wall: datetime) -> InboundEvent | None:
    """One conditional UPDATE: whoever moves `next_attempt_at` has the event."""
    claimed = InboundEvent.objects.filter(
        pk=event_id, status__in=[Status.RECEIVED, Status.FAILED], next_attempt_at__lte=wall
    ).update(next_attempt_at=wall + LEASE, attempts=F("attempts") + 1)
    return InboundEvent.objects.get(pk=event_id) if claimed else None


def _process(event: InboundEvent, *, now: datetime, wall: datetime) -> None:
    try:
        applied = _apply(event, now)
    except MalformedError as error:
        applied = Applied(Verdict.REVIEW, f"not understood: {error}")
    except Exception as error:
        if isinstance(error, NotKnownYet | Unavailable):
            log.info("event %s of %s waits: %s", event.pk, event.provider, type(error).__name__)
        else:
            log.exception("event %s of %s failed", event.pk, event.provider)
        event.error = f"{type(error).__name__}: {error}"[:1000]
        if event.attempts >= MAX_ATTEMPTS:
            event.status = Status(error.otherwise) if isinstance(error, NotKnownYet) else Status.REVIEW
        else:
            event.status = Status.FAILED
            event.next_attempt_at = wall + RETRY_AFTER[min(event.attempts, len(RETRY_AFTER)) - 1]
        _write(event)
        return
    event.status = Status(applied.verdict.value)
    event.error = applied.note
    event.processed_at = wall
    event.next_attempt_at = None
    _write(event)


def _write(event: InboundEvent) -> None:
    """Only while it waits: who outlived his lease doesn't undo what another has done."""
    InboundEvent.objects.filter(pk=event.pk, status__in=[Status.RECEIVED, Status.FAILED]).update(
        status=event.status,
        error=event.error.replace("\0", ""),
        processed_at=event.processed_at,
        next_attempt_at=event.next_attempt_at,
    )


def _apply(event: InboundEvent, now: datetime) -> Applied:
    """Every event of the delivery; the gravest verdict is the delivery's."""
    provider = _provider(event.provider)
    # Here, outside of any transaction, what a delivery only hints at is read again at the provider.
    parsed = provider.confirm_events(provider.parse_webhook(event.headers, bytes(event.body)))
    results, unknown = [], None
    for one in parsed:
        try:
            results.append(provider_event_apply(event=one, now=now))
        except NotKnownYet as error:
            unknown = error  # the others count all the same; applied again with it, they change nothing
    if unknown is not None:
        raise unknown
    gravity = [Verdict.IGNORED, Verdict.PROCESSED, Verdict.REVIEW]
    worst = max((result.verdict for result in results), key=gravity.index, default=Verdict.IGNORED)
    notes = "; ".join(result.note for result in results if result.note)
    return Applied(worst, notes)
