"""Who has access, until when: one function of status *and* time. Nothing else decides it.

Trial until `trial_ends_at`; active until `end_date`, plus a slack while it renews; past_due until `grace_until`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from plans.models import Plan
from subscriptions.models import Status, Subscription
from subscriptions.state import renews, renews_by_itself


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
    granting = [entry for entry in map(_entry, _candidates(user_id)) if entry is not None and _lasts(entry, now)]
    if granting or not settings.PAYFLOW_DEFAULT_PLAN:
        return sorted(granting, key=_rank, reverse=True)
    default = Plan.objects.filter(code=settings.PAYFLOW_DEFAULT_PLAN, is_active=True).first()
    return [Access(default, None, "default", None)] if default else []


def has_access(subscription: Subscription, now: datetime) -> bool:
    """Does this one subscription let its user in at `now`?"""
    entry = _entry(subscription)
    return entry is not None and _lasts(entry, now)


def access_until(subscription: Subscription) -> datetime | None:
    """The end of the access that the subscription grants as it stands; None where it grants none or has no end."""
    entry = _entry(subscription)
    return entry.until if entry else None


def _candidates(user_id: uuid.UUID) -> Iterable[Subscription]:
    return Subscription.objects.filter(
        user_id=user_id, status__in=[Status.TRIAL, Status.ACTIVE, Status.PAST_DUE]
    ).select_related("plan")


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
