"""The locks of this app, in the order of the house: user, then subscription."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

from django.db.models import prefetch_related_objects

from accounts.models import User
from payflow.core.errors import NotFound
from payflow.core.locks import claim_rows, lock_rows
from subscriptions.models import Subscription


def user_lock(user_id: uuid.UUID) -> User:
    """Serialises everything that decides which subscription of a user is the live one. Raises NotFound."""
    rows = lock_rows(User.objects.filter(pk=user_id))
    if not rows:
        raise NotFound("There is no such user")
    return rows[0]


def subscription_lock(subscription_id: uuid.UUID) -> Subscription:
    """The subscription, read under its lock. Raises NotFound."""
    rows = subscriptions_lock([subscription_id])
    if not rows:
        raise NotFound("There is no such subscription")
    return rows[0]


def subscriptions_lock(subscription_ids: Collection[uuid.UUID]) -> list[Subscription]:
    """The subscriptions with their plans, read under their locks, in key order."""
    rows = lock_rows(Subscription.objects.filter(pk__any=subscription_ids))
    # Not by a join: a row that another changed while we waited is matched with the plan it had before, and is lost.
    prefetch_related_objects(rows, "plan")
    return rows


def subscriptions_claim(*, due: datetime, limit: int) -> list[Subscription]:
    """At most `limit` due subscriptions that nobody else holds, with their plans and methods, longest due first."""
    waiting = Subscription.objects.filter(next_action_at__lte=due).order_by("next_action_at")
    rows = claim_rows(waiting, limit=limit)
    prefetch_related_objects(rows, "plan", "payment_method")  # not by a join, as above
    return rows
