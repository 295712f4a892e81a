"""The locks of this app, in the order of the house: user, then subscription."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from accounts.models import User
from payflow.core.errors import NotFound
from payflow.core.locks import lock_rows
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
    """The subscriptions, read under their locks, in key order."""
    return lock_rows(Subscription.objects.filter(pk__in=subscription_ids).prefetch_related("plan"))
