"""Who has access, until when: one function of status *and* time. Nothing else decides it.

Trial until `trial_ends_at`; active until `end_date`, plus a slack while it renews; past_due until `grace_until`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from plans.models import Plan
from subscriptions.models import Status, Subscription
from subscriptions.state import renews, renews_by_itself

_GRANTING = [Status.TRIAL, Status.ACTIVE, Status.PAST_DUE]
#: What access looks at, for many at once: half of the row's columns are half of its cost. What is missing here is read row
#: by row, and a test counts queries.
_DECIDING = (
    "user_id",
    "plan_id",
    "family",
    "timezone",
    "status",
    "trial_ends_at",
    "end_date",
    "grace_until",
    "cancelled_at",
    "disputed_at",
    "auto_renew",
    "provider",
    "provider_sub_id",
    "payment_method_id",
    "amount",
    "had_priced_actions",
)


@dataclass(frozen=True, slots=True)
class Access:
    """A subscription that lets its user in. `until` None is for ever. `subscription` None is the plan of everybody."""

    plan: Plan
    subscription: Subscription | None
    status: str
    until: datetime | None


def access(user_id: uuid.UUID, now: datetime) -> list[Access]:
    """What the user is entitled to now, best first (one per subscription that grants access).

    Without any, the plan named by PAYFLOW_DEFAULT_PLAN, if there is one, else an empty list.
    """
    candidates = Subscription.objects.filter(user_id=user_id, status__in=_GRANTING).select_related("plan")
    return _granted(candidates, now) or _everybodys()


def access_of(user_ids: Collection[uuid.UUID], now: datetime) -> dict[uuid.UUID, list[Access]]:
    """The same for many at once, in three queries at most. Whether there are such users is not asked."""
    candidates: dict[uuid.UUID, list[Subscription]] = {user_id: [] for user_id in user_ids}
    found = list(Subscription.objects.filter(user_id__in=candidates, status__in=_GRANTING).only(*_DECIDING))
    # Each plan once, and not once for each of its subscribers.
    plans = Plan.objects.in_bulk({subscription.plan_id for subscription in found})
    for subscription in found:
        subscription.plan = plans[subscription.plan_id]
        candidates[subscription.user_id].append(subscription)
    granted = {user_id: _granted(own, now) for user_id, own in candidates.items()}
    default = [] if all(granted.values()) else _everybodys()
    return {user_id: entries or default for user_id, entries in granted.items()}


def has_access(subscription: Subscription, now: datetime) -> bool:
    """Does this one subscription let its user in at `now`?"""
    entry = _entry(subscription)
    return entry is not None and _lasts(entry, now)


def access_until(subscription: Subscription) -> datetime | None:
    """The end of the access that the subscription grants as it stands; None where it grants none or has no end."""
    entry = _entry(subscription)
    return entry.until if entry else None


def _granted(candidates: Iterable[Subscription], now: datetime) -> list[Access]:
    granting = [entry for entry in map(_entry, candidates) if entry is not None and _lasts(entry, now)]
    return sorted(granting, key=_rank, reverse=True)


def _everybodys() -> list[Access]:
    if not settings.PAYFLOW_DEFAULT_PLAN:
        return []
    default = Plan.objects.filter(code=settings.PAYFLOW_DEFAULT_PLAN, is_active=True).first()
    return [Access(default, None, "default", None)] if default else []


def _entry(subscription: Subscription) -> Access | None:
    match subscription.status:
        case Status.TRIAL:
            until = subscription.trial_ends_at
        case Status.ACTIVE:
            until = _active_until(subscription)
        case Status.PAST_DUE:
            until = subscription.grace_until
        case _:
            return None
    return Access(subscription.plan, subscription, subscription.status, until)


def _active_until(subscription: Subscription) -> datetime | None:
    end = subscription.end_date
    if end is None or not renews(subscription):
        return end
    slack = settings.RENEWAL_SLACK_PROVIDER if renews_by_itself(subscription) else settings.RENEWAL_SLACK_MERCHANT
    return end + slack


def _lasts(entry: Access, now: datetime) -> bool:
    return entry.until is None or now < entry.until


def _rank(entry: Access) -> tuple[bool, object]:
    paid = entry.subscription is not None and not entry.subscription.is_free
    return (paid, entry.plan.price)
