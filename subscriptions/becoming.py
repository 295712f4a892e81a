"""What a change of plan makes of its subscription. Sets the row's fields and saves nothing."""

from __future__ import annotations

from typing import Any

from subscriptions.models import Subscription, SubscriptionChange


def become(subscription: Subscription, change: SubscriptionChange) -> None:
    """The plan and its terms."""
    subscription.had_priced_actions = subscription.had_priced_actions or bool(subscription.plan.priced_actions)
    subscription.plan = change.plan
    subscription.amount = change.amount
    subscription.currency = change.currency
    subscription.billing_cycle = change.billing_cycle
    subscription.billing_interval = change.billing_interval


def become_at_end(subscription: Subscription, change: SubscriptionChange) -> dict[str, Any]:
    """The same where the paid period ends, and the fields that follow: another cycle begins there, a free plan has no end."""
    before = (subscription.billing_cycle, subscription.billing_interval)
    become(subscription, change)
    if subscription.is_free:
        return {"current_period_start": subscription.end_date, "end_date": None, "provider": None}
    same_cycle = before == (change.billing_cycle, change.billing_interval)
    return {} if same_cycle else {"anchor": subscription.end_date}
