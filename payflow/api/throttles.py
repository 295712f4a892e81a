"""Rate limits against abuse, counted in Redis by one script, so that they are exact under concurrency.

Courtesy, not truth: where Redis is away everybody may pass (quotas are counted in PostgreSQL). DRF's own throttles read,
then write, and let three times the limit through a burst.
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from payflow.api.principals import client_address, principal_key
from payflow.core.redis import Done, Errand, Script, attempt

WINDOW_SECONDS = 60

#: A window begins with its first request and ends by itself. Answers the milliseconds until it ends; or 0, then the values
#: that the errand was to read. Arguments: limit (0: none), milliseconds of a window, how many keys are read, how many
#: dropped (the rest are held), milliseconds of a hold.
_TAKE_ONE = Script("""
local limit = tonumber(ARGV[1])
if limit > 0 then
    local used = redis.call('INCR', KEYS[1])
    local left = redis.call('PTTL', KEYS[1])
    if left < 0 then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        left = tonumber(ARGV[2])
    end
    if used > limit then return {math.max(left, 1)} end
end
local answer = {0}
local reads, drops = tonumber(ARGV[3]), tonumber(ARGV[4])
for place = 2, #KEYS do
    if place <= 1 + reads then
        answer[place] = redis.call('GET', KEYS[place])
    elseif place <= 1 + reads + drops then
        redis.call('DEL', KEYS[place])
    else
        redis.call('SET', KEYS[place], '', 'PX', ARGV[5])
    end
end
return answer
""")


class PrincipalThrottle(BaseThrottle):
    """`RATE_LIMIT_API` requests a minute for each user, API key or, of the anonymous, address."""

    scope = "api"

    #: None where it was not done: Redis is away, or the request is refused.
    done: Done | None = None

    def allow_request(self, request: Request | HttpRequest, view: Any = None, *, errand: Errand | None = None) -> bool:
        """`errand`: what is done on the same way to Redis, if the request is allowed."""
        self._wait, self.done = _take_one(f"{self.scope}:{self.ident(request)}", self.limit(), errand)
        return self._wait == 0

    def wait(self) -> float | None:
        return self._wait or None

    def limit(self) -> int:
        """Read at call time. 0 switches the limit off."""
        limit: int = settings.RATE_LIMIT_API
        return limit

    def ident(self, request: Request | HttpRequest) -> str:
        return principal_key(getattr(request, "user", None)) or f"ip:{client_address(request)}"


class AuthThrottle(PrincipalThrottle):
    """`RATE_LIMIT_AUTH` attempts a minute and address, whoever is signed in: passwords are not to be guessed."""

    scope = "auth"

    def limit(self) -> int:
        limit: int = settings.RATE_LIMIT_AUTH
        return limit

    def ident(self, request: Request | HttpRequest) -> str:
        return f"ip:{client_address(request)}"


def _take_one(name: str, limit: int, errand: Errand | None) -> tuple[float, Done | None]:
    """Takes one of `limit` in the present window: 0 where there was one, else the seconds until there is. And the errand."""
    if limit <= 0 and errand is None:
        return 0, None
    more = errand or Errand()
    keys = [f"payflow:throttle:{name}", *more.reads, *more.drops, *more.holds]
    arguments = [max(limit, 0), WINDOW_SECONDS * 1000, len(more.reads), len(more.drops), more.hold_ms]
    since = time.monotonic()
    answer = attempt(lambda redis: _TAKE_ONE.run(redis, keys, arguments), losing="rate limits are off")
    if answer is None:
        return 0, None
    wait, *values = answer
    return int(wait) / 1000, Done(values, since) if errand and not wait else None
