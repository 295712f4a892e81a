"""Events about state alone. They never grant what money must."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from providers.base import ProviderEvent
from subscriptions.locks import subscription_lock, user_lock
from subscriptions.models import Checkout, Status
from subscriptions.services.provider_events.matching import checkout_of, method_of
from subscriptions.services.provider_events.payments import make_room
from subscriptions.services.provider_events.verdicts import PROCESSED, Applied, Verdict
from subscriptions.services.trials import trial_start


def activated_without_money(event: ProviderEvent, now: datetime) -> Applied:
    """A checkout that took no money: it starts the trial it was made for, and nothing else."""
    checkout = checkout_of(event)
    if checkout is None or checkout.subscription_id is None or not checkout.trial_days:
        return Applied(Verdict.IGNORED, "state alone grants nothing")
    with transaction.atomic():
        user_lock(checkout.user_id)
        subscription = subscription_lock(checkout.subscription_id)
        checkout.refresh_from_db()
        if checkout.status == Checkout.Status.PAID:
            return PROCESSED
        if subscription.status != Status.PENDING:
            return Applied(Verdict.REVIEW, f"the subscription is {subscription.status}")
        if (obstacle := make_room(subscription, now)) is not None:
            return Applied(Verdict.REVIEW, obstacle)
        trial_start(subscription, checkout, method=method_of(event, checkout.user_id, now), at=now)
    return PROCESSED
