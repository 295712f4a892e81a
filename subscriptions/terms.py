"""What a subscription was sold with, at any moment of its life: from the changes that it has been through."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from subscriptions.models import Subscription, SubscriptionChange


class Terms(NamedTuple):
    """The plan, and the moment at which it was agreed upon: prices that the subscription carries no copy of are those of then."""

    plan_id: uuid.UUID
    sold_at: datetime


def changes_applied(subscription_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[SubscriptionChange]]:
    """What each of them has been through, oldest first. One query."""
    found: dict[uuid.UUID, list[SubscriptionChange]] = {}
    applied = SubscriptionChange.objects.filter(
        subscription__in=subscription_ids, status=SubscriptionChange.Status.APPLIED
    ).order_by("effective_at", "pk")
    for change in applied.only("subscription_id", "effective_at", "plan_id", "from_plan_id", "created_at"):
        found.setdefault(change.subscription_id, []).append(change)
    return found


def terms_at(subscription: Subscription, applied: Sequence[SubscriptionChange], at: datetime) -> Terms:
    """The terms that held at `at`, by what was `applied` to the subscription (`changes_applied`).

    They are those of the last change that had taken effect (a price move by an operator too), before any those of the
    order. A plan that a provider has put in place without a change of ours counts as ordered.
    """
    terms = Terms(subscription.plan_id, subscription.created_at)
    for number, change in enumerate(applied):
        if change.effective_at > at:
            return terms._replace(plan_id=change.from_plan_id) if number == 0 else terms
        terms = Terms(change.plan_id, change.created_at)
    return terms._replace(plan_id=subscription.plan_id)
