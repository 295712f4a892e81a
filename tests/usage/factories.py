"""Plans and subscriptions that grant access, written straight into their tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from plans.models import Plan
from subscriptions.models import Status, Subscription

#: A Sunday in spring, far from any change of clocks.
NOON = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
_numbers = count(1)


def plan(**fields) -> Plan:
    """Without any limit unless given."""
    number = next(_numbers)
    values = {
        "code": f"plan-{number}",
        "name": f"Plan {number}",
        "price": 10,
        "billing_cycle": "monthly",
        "features": {},
        "max_usage_per_day": None,
        "max_usage_per_month": None,
        **fields,
    }
    return Plan.objects.create(**values)


def subscription(user, plan: Plan, *, now: datetime = NOON, **fields) -> Subscription:
    """Active for thirty days around `now`, and renewing."""
    values = {
        "status": Status.ACTIVE,
        "start_date": now - timedelta(days=15),
        "anchor": now - timedelta(days=15),
        "end_date": now + timedelta(days=15),
        "next_action_at": now + timedelta(days=15),
        "family": plan.family,
        "amount": plan.price,
        "currency": "USD",
        "billing_cycle": "monthly",
        **fields,
    }
    return Subscription.objects.create(user=user, plan=plan, **values)


def subscribed(user, *, timezone: str = "UTC", now: datetime = NOON, **plan_fields) -> Subscription:
    return subscription(user, plan(**plan_fields), now=now, timezone=timezone)
