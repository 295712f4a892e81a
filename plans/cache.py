"""The list of active plans in Redis. A copy: PostgreSQL is read where Redis is away or was wiped.

The list's key carries a version, and a change of plans is a new version: a slow reader that still holds the old list can
only write it under the old key.
"""

from __future__ import annotations

import uuid
from typing import Any, cast

from django.core.cache import cache

from payflow.core.registry import Occurrence

SECONDS = 300
_VERSION = "plans:version"

Rows = list[dict[str, Any]]


def present_key() -> str | None:
    """The list's present key, or None where Redis is away. Ask for it before PostgreSQL is read."""
    version = cache.get(_VERSION)
    if version is None:
        cache.add(_VERSION, uuid.uuid4().hex, timeout=None)
        version = cache.get(_VERSION)
    return None if version is None else f"plans:active:{version}"


def load(key: str | None) -> Rows | None:
    return cast("Rows | None", cache.get(key)) if key else None


def store(key: str | None, rows: Rows) -> None:
    if key:
        cache.set(key, rows, timeout=SECONDS)


def invalidate() -> bool:
    """Makes every copy unreachable. False where Redis is away: a copy may then live until SECONDS have passed."""
    version = uuid.uuid4().hex
    cache.set(_VERSION, version, timeout=None)
    # A failure to write is swallowed by the cache's settings; only what is read back is certain.
    return cast(Any, cache.get(_VERSION)) is not None


def on_plan_changed(occurrence: Occurrence) -> None:
    """The outbox handler: repeated until Redis took it. Raises CacheAway."""
    if not invalidate():
        raise CacheAway(f"Redis is away: {occurrence.type} is not in its copies yet")


class CacheAway(Exception):
    """Redis did not answer; the outbox tries again."""
