"""What a user is entitled to: from subscriptions and counters, never from the log."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from accounts.models import User
from payflow.core.errors import NotFound
from payflow.core.money import Money
from plans.features import merge_features
from plans.models import Plan
from plans.pricing import price
from subscriptions.access import Access, AccessRow, access
from usage import limits, metering
from usage.limits import Grant, LimitState, Slot

#: One probe of the primary key per limit. No row at all means that there is no such user.
COUNTERS = """
SELECT coalesce(c.used, 0)
FROM users u
CROSS JOIN unnest(%(families)s::text[], %(actions)s::text[], %(windows)s::text[], %(dates)s::date[])
    WITH ORDINALITY AS w (family, action, "window", local_date, position)
LEFT JOIN usage_counters c ON c.user_id = u.id AND c.family = w.family AND c.action = w.action
    AND c."window" = w."window" AND c.local_date = w.local_date
WHERE u.id = %(user_id)s
ORDER BY w.position
"""


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The paywall's answer. Without access everything is empty and `entitled` is False."""

    entitled: bool
    plan: Plan | None
    status: str | None
    access_until: datetime | None
    subscription_id: uuid.UUID | None
    features: Mapping[str, Any]
    limits: Sequence[LimitState]
    priced_actions: Sequence[PricedState]
    #: Until when time alone changes none of it: the end of an access or of a limit's window. None: for ever.
    holds_until: datetime | None


@dataclass(frozen=True, slots=True)
class PricedState:
    """How far a priced action is used in the cycle under way. `cost` is its price so far; `max` what may be used at all."""

    action: str
    settlement: str
    model: str
    included: int
    used: int
    max: int | None
    cost: Money
    period_start: datetime
    period_end: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "settlement": self.settlement,
            "model": self.model,
            "included": self.included,
            "included_remaining": max(0, self.included - self.used),
            "used": self.used,
            "max": self.max,
            "cost": self.cost.amount,
            "currency": self.cost.currency,
            "period_start": self.period_start,
            "period_end": self.period_end,
        }


def entitlement(user_id: uuid.UUID, now: datetime) -> Entitlement:
    """What the user may do now: two queries with a subscription, three where its actions are priced or without one.

    With several subscriptions: plan, status and end are the best one's, features and limits those of all together.
    Raises NotFound where there is no such user.
    """
    entries = access(user_id, now)
    if not entries:
        user_must_exist(user_id)
        return Entitlement(False, None, None, None, None, {}, [], [], None)
    best = entries[0]
    grants = [grant(entry) for entry in entries]
    slots = limits.limited(grants, now)
    used = counters(user_id, slots)
    if used is None:
        raise NotFound
    priced = [_priced(use) for entry in entries for use in metering.priced_all(user_id, entry, now)]
    ends = [
        *(entry.until for entry in entries),
        *(slot.resets_at for slot in slots),
        *(use.period_end for use in priced),
    ]
    return Entitlement(
        entitled=True,
        plan=best.plan,
        status=best.status,
        access_until=best.until,
        subscription_id=best.subscription.pk if best.subscription else None,
        features=merge_features(each.features for each in grants),
        limits=[limits.state(slot, count) for slot, count in zip(slots, used, strict=True)],
        priced_actions=priced,
        holds_until=min(filter(None, ends), default=None),
    )


def _priced(use: metering.Priced) -> PricedState:
    return PricedState(
        action=use.price.action,
        settlement=use.price.settlement,
        model=use.price.model,
        included=use.price.included,
        used=use.used,
        max=use.cap,
        cost=price(use.pricing, use.used),
        period_start=use.cycle.start,
        period_end=use.cycle.end,
    )


def user_must_exist(user_id: uuid.UUID) -> None:
    """Raises NotFound."""
    if not User.objects.filter(pk=user_id).exists():
        raise NotFound


def grant(entry: Access | AccessRow) -> Grant:
    """What one access gives. The plan of everybody has no subscription, and so the calendar of UTC."""
    subscription, plan = entry.subscription, entry.plan
    return Grant(
        family=subscription.family if subscription else plan.family,
        timezone=subscription.timezone if subscription else "UTC",
        features=plan.features or {},
        max_usage_per_day=plan.max_usage_per_day,
        max_usage_per_month=plan.max_usage_per_month,
    )


def counters(user_id: uuid.UUID, slots: Sequence[Slot]) -> list[int] | None:
    """How much is used of each slot, in their order (at least one); None where there is no such user."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTERS, counters_parameters(user_id, slots))
        rows = cursor.fetchall()
    return [used for (used,) in rows] or None


def counters_parameters(user_id: uuid.UUID, slots: Sequence[Slot]) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "families": [slot.family for slot in slots],
        "actions": [slot.action for slot in slots],
        "windows": [str(slot.window) for slot in slots],
        "dates": [slot.local_date for slot in slots],
    }
