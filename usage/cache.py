"""The paywall's answers, kept in Redis for each user until something changes them.

An answer is dropped at the commit of whatever changes it: the subscription (`access_changed`), the counters, the user, or a
plan (then everybody's: a new generation). It outlives neither a window of its limits nor the access it tells of. Who
computes one takes a lease first, and what was dropped meanwhile is not kept: an answer read before a commit never hides it.

A person's own use would go to Redis twice, once to be let in and once to drop. It drops when it is let in, and holds off
leases for HOLD_MS; only where its commit comes later than that it drops again. (One that is refused then drops too: that costs an
answer.) Where Redis was emptied meanwhile, which tells by the generation that is gone, nobody gets a lease for as long.

Where a process dies between its commit and the dropping, Redis is away then, or comes back without what it was told in its last
second, the old answer lives on for at most ENTITLEMENT_CACHE_SECONDS. It tells only: `usage/log` counts in PostgreSQL, and
never by these answers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from payflow.core.redis import Done, Errand, Script, attempt

GENERATION = "payflow:entitlements:generation"
#: Stands for HOLD_MS where there was no generation: with it the holds of uses under way are lost.
EMPTIED = "payflow:entitlements:emptied"
#: An answer takes milliseconds. Whoever takes longer keeps none.
LEASE_MS = 5000
#: A use takes milliseconds. So long after one has begun nothing is kept of its user.
HOLD_MS = 500
#: By the clock of who holds; the rest is for differences of the two clocks.
HOLD_BELIEVED_SECONDS = 0.4

#: The mark, unless a use is under way or may be. Answers the generation then.
_LEASE = Script("""
if redis.call('SET', KEYS[1], ARGV[1], 'NX') then redis.call('SET', KEYS[4], '', 'PX', ARGV[4]) end
if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then return false end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return redis.call('GET', KEYS[1])
""")
_KEEP = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
""")


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to keep the answer that is computed now."""

    key: str
    mark: bytes
    generation: bytes


def is_on() -> bool:
    """Not while time travels: the answers' ends are told by real time."""
    return settings.ENTITLEMENT_CACHE_SECONDS > 0 and not settings.PAYFLOW_TIME_TRAVEL


def answer_errand(user_id: uuid.UUID) -> Errand | None:
    """What `answer_of` finds the answer by; None where nothing is kept."""
    return Errand(reads=(GENERATION, _key(user_id))) if is_on() else None


def use_errand(user_id: uuid.UUID) -> Errand | None:
    """Drops the answer, and keeps any other from being kept while a use is under way; None where nothing is kept."""
    return Errand(drops=(_key(user_id),), holds=(_held(user_id),), hold_ms=HOLD_MS) if is_on() else None


def answer_of(done: Done | None, *, proof: str | None) -> bytes | None:
    """The kept answer in what `answer_errand` brought, or None. With a `proof` only that of the person who showed the same
    one when it was computed."""
    if done is None or None in done.values:
        return None
    generation, kept = done.values
    assert kept is not None
    of_generation, _, rest = kept.partition(b"\n")
    of_proof, separator, body = rest.partition(b"\n")
    if not separator or of_generation != generation or (proof is not None and of_proof != proof.encode()):
        return None
    return bytes(body)


def answer_find(user_id: uuid.UUID, *, proof: str | None) -> bytes | None:
    """The same, asked for by itself."""
    if not is_on():
        return None
    since, keys = time.monotonic(), (GENERATION, _key(user_id))
    found = attempt(lambda redis: redis.mget(keys), losing="entitlements are computed each time")
    return answer_of(Done(found, since) if found is not None else None, proof=proof)


def answer_lease(user_id: uuid.UUID) -> Lease | None:
    """Taken before anything is read. None where nothing can be kept."""
    if not is_on():
        return None
    key, mark = _key(user_id), uuid.uuid4().bytes.hex().encode()
    keys, arguments = [GENERATION, key, _held(user_id), EMPTIED], [uuid.uuid4().hex, mark, LEASE_MS, HOLD_MS]
    generation = attempt(lambda redis: _LEASE.run(redis, keys, arguments), losing="entitlements are computed each time")
    return Lease(key, mark, generation) if generation is not None else None


def answer_keep(lease: Lease, body: bytes, *, proof: str, now: datetime, until: datetime | None) -> None:
    """Keeps `body`, which is true until `until` if nothing changes, unless it was dropped since the lease was taken."""
    longest = timedelta(seconds=settings.ENTITLEMENT_CACHE_SECONDS)
    lasts = longest if until is None else min(longest, until - now)
    if (milliseconds := int(lasts.total_seconds() * 1000)) <= 0:
        return
    value = b"\n".join([lease.generation, proof.encode(), body])
    attempt(
        lambda redis: _KEEP.run(redis, [lease.key], [lease.mark, value, milliseconds]),
        losing="an entitlement is not kept",
    )


def use_ended(user_id: uuid.UUID, errand: Done | None) -> None:
    """A use was counted: its user's answer is forgotten, unless its `use_errand` has seen to that."""
    holds = errand is not None and time.monotonic() - errand.since < HOLD_BELIEVED_SECONDS
    if not holds or connection.in_atomic_block:  # a commit that is still to come, who knows when
        answers_drop([user_id])


def answers_drop(user_ids: Collection[uuid.UUID]) -> None:
    """Forgets the answers of these users when the present transaction commits (at once outside one)."""
    if user_ids and is_on():
        keys = [_key(user_id) for user_id in user_ids]
        _on_commit(lambda redis: redis.delete(*keys))


def answers_drop_all() -> None:
    """Forgets everybody's answer when the present transaction commits (at once outside one)."""
    if is_on():
        _on_commit(lambda redis: redis.set(GENERATION, uuid.uuid4().hex))


def _on_commit(work: Any) -> None:
    # Tried in an outage too: what is not dropped would come back with Redis.
    transaction.on_commit(
        lambda: attempt(work, losing="old entitlements may be told for a while", even_in_outage=True), robust=True
    )


def _key(user_id: uuid.UUID) -> str:
    return f"payflow:entitlements:{user_id}"


def _held(user_id: uuid.UUID) -> str:
    return f"payflow:entitlements:{user_id}:held"
