"""An operator has looked at what PayFlow asked him to look at."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import transaction

from payflow.core import audit
from payflow.core.errors import InvalidTransition
from subscriptions.locks import subscription_lock
from subscriptions.models import Subscription
from subscriptions.state import subscription_update


def subscription_reviewed(*, subscription_id: uuid.UUID, actor: str, now: datetime) -> Subscription:
    """Clears `review_reason`; it comes back where its cause does. Raises InvalidTransition where nothing is to review."""
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        reason = subscription.review_reason
        if not reason:
            raise InvalidTransition("There is nothing to review")
        # Whoever asked for the review may have put the next action off (MAX_CHARGES_PER_DAY): it stays put off.
        subscription_update(subscription, review_reason="", lease_until=subscription.next_action_at)
        audit.record(
            actor=actor,
            action="subscription.reviewed",
            subject_type="subscription",
            subject_id=subscription.pk,
            data={"reason": reason, "at": now.isoformat()},
        )
    return subscription
