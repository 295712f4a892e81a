"""Why a unit of usage is refused."""

from __future__ import annotations

import math
from datetime import datetime

from payflow.core.errors import Code, DomainError
from payflow.core.idempotency import IdempotencyMismatch
from payflow.core.money import Money
from usage.limits import LimitState


class NotEntitled(DomainError):
    """No subscription gives access, or the plan switches the action off (`details.reason` says which)."""

    code = Code.NOT_ENTITLED
    message = "There is no subscription that allows this"

    @classmethod
    def no_access(cls) -> NotEntitled:
        return cls(details={"reason": "no_access"})

    @classmethod
    def switched_off(cls, action: str) -> NotEntitled:
        return cls("The plan does not include this action", details={"reason": "switched_off", "action": action})


class UsageLimitExceeded(DomainError):
    """The limit that lasts longest among those that refuse; `details` is its state, as an entitlement shows it.

    `retry_after` is the time until its window ends; a limit for ever has none.
    """

    code = Code.USAGE_LIMIT_EXCEEDED
    message = "The usage limit is reached"

    def __init__(self, limit: LimitState, *, now: datetime) -> None:
        wait = None
        if limit.resets_at is not None:
            wait = max(1, math.ceil((limit.resets_at - now).total_seconds()))
        super().__init__(f"The limit {limit.limit} is reached", details=limit.as_json(), retry_after=wait)
        self.limit = limit


class CreditExhausted(DomainError):
    """A unit of this action is paid from credit when it is used, and there is too little; nothing was counted or taken."""

    code = Code.INSUFFICIENT_CREDIT
    message = "There is not enough credit for this"

    def __init__(self, *, action: str, needed: Money, available: Money) -> None:
        super().__init__(
            details={
                "action": action,
                "needed": needed.amount,
                "available": available.amount,
                "currency": needed.currency,
            }
        )


class EventMismatch(IdempotencyMismatch):
    """The event is known with another action, quantity, content or metadata."""

    message = "This event_id was used for another request"
