"""Who has access, until when: one function of status *and* time. Nothing else decides it.

Trial until `trial_ends_at`; active until `end_date`, plus a slack while it renews; past_due until `grace_until`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from django.conf import settings
from django.db import connection

from plans.models import Plan
from subscriptions.models import Status, Subscription
from subscriptions.state import Renewing, renews, renews_by_itself

#: The status that the plan of everybody is told with.
_DEFAULT = "default"
_GRANTING = (Status.TRIAL, Status.ACTIVE, Status.PAST_DUE)
#: As texts and plain values: thousands are read at once, and a model's instance costs ten times as much.
_ROWS = """
SELECT id::text, user_id::text, plan_id::text, family, timezone, status, trial_ends_at, end_date, grace_until, cancelled_at,
    disputed_at, auto_renew, provider, provider_sub_id, payment_method_id::text, amount = 0, had_priced_actions
FROM subscriptions WHERE user_id = ANY(%s::uuid[]) AND status = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Access:
    """A subscription that lets its user in. `until` None is for ever. `subscription` None is the plan of everybody."""

    plan: Plan
    subscription: Subscription | None
    status: str
    until: datetime | None


class SubscriptionRow(NamedTuple):
    """What access looks at of a subscription."""

    id: str
    user_id: str
    plan_id: str
    family: str
    timezone: str
    status: str
    trial_ends_at: datetime | None
    end_date: datetime | None
    grace_until: datetime | None
    cancelled_at: datetime | None
    disputed_at: datetime | None
    auto_renew: bool
    provider: str | None
    provider_sub_id: str | None
    payment_method_id: str | None
    is_free: bool
    had_priced_actions: bool


class AccessRow(NamedTuple):
    """The same as `Access`, of many at once."""

    plan: Plan
    subscription: SubscriptionRow | None
    status: str
    until: datetime | None


class _Deciding(Renewing, Protocol):
    """What decides: a subscription or its row."""

    @property
    def trial_ends_at(self) -> datetime | None: ...
    @property
    def end_date(self) -> datetime | None: ...
    @property
    def grace_until(self) -> datetime | None: ...


def access(user_id: uuid.UUID, now: datetime) -> list[Access]:
    """What the user is entitled to now, best first (one per subscription that grants access).

    Without any, the plan named by PAYFLOW_DEFAULT_PLAN, if there is one, else an empty list.
    """
    candidates = Subscription.objects.filter(user_id=user_id, status__in=_GRANTING).select_related("plan")
    granted = [Access(each.plan, each, each.status, _until(each)) for each in candidates if has_access(each, now)]
    if granted:
        return sorted(granted, key=_rank, reverse=True)
    default = _everybodys()
    return [Access(default, None, _DEFAULT, None)] if default else []


def access_of(user_ids: Collection[str], now: datetime) -> dict[str, list[AccessRow]]:
    """The same for many at once, in three queries at most. Whether there are such users is not asked.

    `user_ids` as PostgreSQL writes them.
    """
    found: dict[str, list[AccessRow]] = {user_id: [] for user_id in user_ids}
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, ["{" + ",".join(user_ids) + "}", list(_GRANTING)])
        rows = [row for row in map(SubscriptionRow._make, cursor.fetchall()) if has_access(row, now)]
    # Each plan once, and not once for each of its subscribers.
    plans = {str(plan.pk): plan for plan in Plan.objects.filter(pk__in={row.plan_id for row in rows})}
    for row in rows:
        found[row.user_id].append(AccessRow(plans[row.plan_id], row, row.status, _until(row)))
    default = None if all(found.values()) else _everybodys()
    everybodys = [AccessRow(default, None, _DEFAULT, None)] if default else []
    return {user_id: sorted(own, key=_rank, reverse=True) or everybodys for user_id, own in found.items()}


def has_access(subscription: _Deciding, now: datetime) -> bool:
    """Does this one subscription let its user in at `now`?"""
    if subscription.status not in _GRANTING:
        return False
    until = _until(subscription)
    return until is None or now < until


def access_until(subscription: Subscription) -> datetime | None:
    """The end of the access that the subscription grants as it stands; None where it grants none or has no end."""
    return _until(subscription) if subscription.status in _GRANTING else None


def _everybodys() -> Plan | None:
    code = settings.PAYFLOW_DEFAULT_PLAN
    return Plan.objects.filter(code=code, is_active=True).first() if code else None


def _until(subscription: _Deciding) -> datetime | None:
    """Of one in a status that lets in; None: for ever."""
    match subscription.status:
        case Status.TRIAL:
            return subscription.trial_ends_at
        case Status.PAST_DUE:
            return subscription.grace_until
    end = subscription.end_date
    if end is None or not renews(subscription):
        return end
    slack = settings.RENEWAL_SLACK_PROVIDER if renews_by_itself(subscription) else settings.RENEWAL_SLACK_MERCHANT
    return end + slack


def _rank(entry: Access | AccessRow) -> tuple[bool, Decimal]:
    paid = entry.subscription is not None and not entry.subscription.is_free
    return (paid, entry.plan.price)
