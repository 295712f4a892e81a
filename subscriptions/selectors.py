"""Reads of subscriptions, for views, pages and sweeps."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db.models import Prefetch, QuerySet

from subscriptions.models import LIVE, Checkout, Status, Subscription, SubscriptionChange


def subscriptions_with_plan() -> QuerySet[Subscription]:
    """Subscriptions with what their serializer reads: a constant number of queries however many there are."""
    return Subscription.objects.select_related("plan").prefetch_related(
        Prefetch(
            "checkouts",
            queryset=Checkout.objects.filter(status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN]).order_by(
                "created_at"
            ),
            to_attr="open_checkouts",
        ),
        Prefetch(
            "changes",
            queryset=SubscriptionChange.objects.filter(status=SubscriptionChange.Status.OPEN).select_related("plan"),
            to_attr="open_changes",
        ),
    )


def subscription_read(subscription_id: uuid.UUID) -> Subscription:
    """As the database has it now, with what its serializer reads."""
    return subscriptions_with_plan().get(pk=subscription_id)


def subscription_current(user_id: uuid.UUID, *, family: str | None = None) -> Subscription | None:
    """What the user means by *my subscription*: the live one, else the pending one, else None."""
    rows = subscriptions_with_plan().filter(user_id=user_id, status__in=[*LIVE, Status.PENDING], overlaps=None)
    if family is not None:
        rows = rows.filter(family=family)
    ranked = sorted(rows, key=lambda row: (row.status == Status.PENDING, row.is_free, row.created_at))
    return ranked[0] if ranked else None


def subscription_pending(user_id: uuid.UUID, family: str) -> Subscription | None:
    return subscriptions_with_plan().filter(user_id=user_id, family=family, status=Status.PENDING).first()


def next_due(after: datetime) -> datetime | None:
    """The earliest business moment later than `after` at which a subscription is due."""
    return (
        Subscription.objects.filter(next_action_at__gt=after)
        .order_by("next_action_at")
        .values_list("next_action_at", flat=True)
        .first()
    )
