"""Rate limits against abuse, counted in Redis by one script, so that they are exact under concurrency.

Courtesy, not truth: where Redis is away everybody may pass (quotas are counted in PostgreSQL). DRF's own throttles read,
then write, and let three times the limit through a burst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from payflow.api.principals import client_address, principal_key
from payflow.core.redis import Script, attempt

WINDOW_SECONDS = 60

#: A window begins with its first request and ends by itself. Answers 0, or the milliseconds until it ends; then the values
#: of all keys after the first.
_TAKE_ONE = Script("""
local used = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    left = tonumber(ARGV[2])
end
local answer = {0}
if used > tonumber(ARGV[1]) then answer[1] = math.max(left, 1) end
for place = 2, #KEYS do answer[place] = redis.call('GET', KEYS[place]) end
return answer
""")


class PrincipalThrottle(BaseThrottle):
    """`RATE_LIMIT_API` requests a minute for each user, API key or, of the anonymous, address."""

    scope = "api"

    #: What the keys of `beside` hold; None where Redis is away.
    found: Sequence[bytes | None] | None = None

    def allow_request(self, request: Request | HttpRequest, view: Any = None, *, beside: Sequence[str] = ()) -> bool:
        """`beside`: keys that are read on the same way to Redis."""
        self._wait, self.found = _take_one(f"{self.scope}:{self.ident(request)}", self.limit(), beside)
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


def _take_one(name: str, limit: int, beside: Sequence[str]) -> tuple[float, Sequence[bytes | None] | None]:
    """Takes one of `limit` in the present window: 0 where there was one, else the seconds until there is. And what is beside."""
    if limit <= 0:
        return 0, attempt(lambda redis: redis.mget(beside), losing="nothing is read") if beside else []
    answer = attempt(
        lambda redis: _TAKE_ONE.run(redis, [f"payflow:throttle:{name}", *beside], [limit, WINDOW_SECONDS * 1000]),
        losing="rate limits are off",
    )
    if answer is None:
        return 0, None
    return int(answer[0]) / 1000, answer[1:]
