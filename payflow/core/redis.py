"""Redis for what may be lost: where it is away, callers go on without it, and don't wait for its timeout one by one."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django_redis import get_redis_connection  # type: ignore[import-untyped]
from django_redis.exceptions import ConnectionInterrupted  # type: ignore[import-untyped]
from redis.exceptions import NoScriptError, RedisError

#: After a failure Redis is left alone for so long, and one line is logged.
SECONDS_WITHOUT_REDIS = 5.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class _Outage:
    until = 0.0


def attempt(work: Callable[[Any], T], *, losing: str, even_in_outage: bool = False) -> T | None:
    """What `work` makes of the connection; None where Redis is away (logged: `losing`), or where there is none at all."""
    if not even_in_outage and time.monotonic() < _Outage.until:
        return None
    try:
        return work(get_redis_connection("default"))
    except NotImplementedError:  # another cache than Redis
        return None
    except (RedisError, ConnectionInterrupted, OSError) as error:
        _Outage.until = time.monotonic() + SECONDS_WITHOUT_REDIS
        log.warning("Redis is away, %s: %s", losing, type(error).__name__)
        return None


@dataclass(frozen=True, slots=True)
class Errand:
    """What else is done on a way to Redis that is gone anyway: `drops` are deleted, `holds` stand for `hold_ms` milliseconds,
    and the values of `reads` are brought along."""

    reads: Sequence[str] = ()
    drops: Sequence[str] = ()
    holds: Sequence[str] = ()
    hold_ms: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """An errand that was done. `values` of what was to be read; `since`: `time.monotonic()` before it was sent."""

    values: Sequence[bytes | None]
    since: float


class Script:
    """A Lua script that Redis knows by its hash; it is sent whole where it does not."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # Redis names scripts so

    def run(self, redis: Any, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """What it answers. Raises RedisError."""
        try:
            return redis.evalsha(self._hash, len(keys), *keys, *arguments)
        except NoScriptError:
            return redis.eval(self._text, len(keys), *keys, *arguments)
