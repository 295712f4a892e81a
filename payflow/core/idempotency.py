"""Idempotency keys: one request of a client happens once, however often it is sent.

The claim is one committed INSERT before anything else is done; whoever loses the race is told so. A holder that died is
followed after TAKEOVER by exactly one other (a conditional UPDATE), which resumes the same domain row: the id of a key's
row depends on principal and key alone, so that keys derived from it stay the same from one try to the next.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.models import QuerySet

from payflow.core.errors import Code, DomainError, ValidationFailed
from payflow.core.models import IdempotencyKey, KeyStatus

LIFETIME = timedelta(days=7)
#: Longer than any request of ours may take, provider calls and their retries included.
TAKEOVER = timedelta(seconds=60)
MAX_KEY_LENGTH = 255

_NAMESPACE = uuid.UUID("6f1d8f0e-5a3b-5c1e-9d0a-7b2f4c8e1a90")
#: `claimed_at` of a claim that was given back: the next one may follow at once.
_GIVEN_BACK = datetime(1970, 1, 1, tzinfo=UTC)


class IdempotencyMismatch(DomainError):
    code = Code.IDEMPOTENCY_MISMATCH
    message = "This Idempotency-Key was used for another request"


class IdempotencyInProgress(DomainError):
    code = Code.IDEMPOTENCY_IN_PROGRESS
    message = "The first request with this Idempotency-Key is still being worked on"


@dataclass(frozen=True, slots=True)
class Claim:
    """This request holds the key, since `claimed_at`; another that took over has another moment."""

    id: uuid.UUID
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the key's first request was answered: status and body as text."""

    status: int
    body: str


def checked_key(text: str) -> str:
    """The header's value. Raises ValidationFailed unless it is 1 to 255 printable ASCII characters."""
    if not (0 < len(text) <= MAX_KEY_LENGTH and text.isascii() and text.isprintable() and text.strip()):
        raise ValidationFailed.field("Idempotency-Key", f"1 to {MAX_KEY_LENGTH} printable ASCII characters")
    return text


def request_hash(*, method: str, path: str, body: bytes) -> str:
    """What makes two requests the same: method, path with query, and the bytes of the body."""
    digest = hashlib.sha256(f"{method} {path}\n".encode())
    digest.update(body)
    return digest.hexdigest()


def key_claim(*, principal: str, key: str, request_hash: str, wall: datetime) -> Claim | StoredAnswer:
    """Claims `key` for `principal`, or gives the answer that its first request got.

    Call it outside any transaction. Raises IdempotencyMismatch for another request under the same key and
    IdempotencyInProgress (with retry_after) while the first is at work.
    """
    key_id = uuid.uuid5(_NAMESPACE, f"{principal}\n{key}")
    while True:
        if _inserted(key_id, principal, key, request_hash, wall):
            return Claim(key_id, wall)
        row = IdempotencyKey.objects.filter(pk=key_id).first()
        if row is None:
            continue  # given back in between
        if row.expires_at <= wall:
            IdempotencyKey.objects.filter(pk=key_id, expires_at=row.expires_at).delete()
            continue
        if row.request_hash != request_hash:
            raise IdempotencyMismatch
        if row.status == KeyStatus.DONE:
            return StoredAnswer(row.response_status or 200, row.response_body or "")
        free_at = row.claimed_at + TAKEOVER
        if free_at > wall:
            raise IdempotencyInProgress(retry_after=int((free_at - wall).total_seconds()) + 1)
        held = IdempotencyKey.objects.filter(pk=key_id, status=KeyStatus.IN_FLIGHT, claimed_at=row.claimed_at)
        if held.update(claimed_at=wall):
            return Claim(key_id, wall)


def key_finish(*, claim: Claim, status: int, body: str) -> None:
    """Keeps the answer for replays. Does nothing where another has taken over: its answer is the one that counts."""
    _held(claim).update(status=KeyStatus.DONE, response_status=status, response_body=body)


def key_forget(*, claim: Claim) -> None:
    """The request was refused before it did anything (400, 401, 429): the key is free for a corrected one."""
    _held(claim).delete()


def key_give_back(*, claim: Claim) -> None:
    """The outcome is unknown (5xx): the same request may try again at once and resumes, another is a mismatch."""
    _held(claim).update(claimed_at=_GIVEN_BACK)


def keys_expire(*, now: datetime, wall: datetime) -> int:
    """Deletes what is past its seven days of real time; a sweep."""
    deleted, _ = IdempotencyKey.objects.filter(expires_at__lte=wall).delete()
    return deleted


def _held(claim: Claim) -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.filter(pk=claim.id, status=KeyStatus.IN_FLIGHT, claimed_at=claim.claimed_at)


def _inserted(key_id: uuid.UUID, principal: str, key: str, request_hash: str, wall: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO idempotency_keys (id, principal, key, request_hash, status, claimed_at, expires_at)"
            " VALUES (%s, %s, %s, %s, 'in_flight', %s, %s) ON CONFLICT DO NOTHING",
            [key_id, principal, key, request_hash, wall, wall + LIFETIME],
        )
        return bool(cursor.rowcount)
