"""What a purchase is now, in our words."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from providers.base import EventType, SubState, SubStatus
from providers.google.records import Purchase

#: subscriptionState. What is not here is UNKNOWN: never active.
STATUS: Mapping[str, SubStatus] = {
    "SUBSCRIPTION_STATE_PENDING": SubStatus.PENDING,
    "SUBSCRIPTION_STATE_ACTIVE": SubStatus.ACTIVE,
    "SUBSCRIPTION_STATE_IN_GRACE_PERIOD": SubStatus.PAST_DUE,
    "SUBSCRIPTION_STATE_ON_HOLD": SubStatus.ON_HOLD,
    "SUBSCRIPTION_STATE_PAUSED": SubStatus.PAUSED,
    "SUBSCRIPTION_STATE_CANCELED": SubStatus.CANCELED,
    "SUBSCRIPTION_STATE_EXPIRED": SubStatus.EXPIRED,
    # The buyer gave up before he paid: nothing was ever granted.
    "SUBSCRIPTION_STATE_PENDING_PURCHASE_CANCELED": SubStatus.EXPIRED,
}

E = EventType
_TOLD: Mapping[SubStatus, EventType] = {
    SubStatus.PAST_DUE: E.SUBSCRIPTION_GRACE,
    SubStatus.ON_HOLD: E.SUBSCRIPTION_ON_HOLD,
    SubStatus.PAUSED: E.SUBSCRIPTION_PAUSED,
    SubStatus.CANCELED: E.SUBSCRIPTION_CANCELED,
    SubStatus.EXPIRED: E.SUBSCRIPTION_EXPIRED,
}

log = logging.getLogger(__name__)


def status_of(purchase: Purchase) -> SubStatus:
    status = STATUS.get(purchase.state)
    if status is None:
        log.warning("google: the state %r is not known", purchase.state)
        return SubStatus.UNKNOWN
    return SubStatus.TRIAL if status == SubStatus.ACTIVE and purchase.is_free_trial else status


def state_of(purchase: Purchase) -> SubState:
    return SubState(
        provider_sub_id=purchase.token,
        status=status_of(purchase),
        auto_renew=purchase.renews,
        period_start=None,  # the orders know it
        period_end=purchase.expires_at,
        provider_plan_ref=purchase.plan_ref,
        user_ref=purchase.user_ref,
        as_of=purchase.read_at,
        replaces=purchase.replaces,
        unacknowledged=purchase.unacknowledged,
        is_test=purchase.is_test,
    )


def told_by(purchase: Purchase) -> EventType | None:
    """The event that says how it stands. None where there is nothing to say: it waits to be paid, was never paid, was
    taken over by another purchase (which tells it itself), or its state is a word that is not known."""
    status = status_of(purchase)
    if purchase.is_replaced or purchase.state == "SUBSCRIPTION_STATE_PENDING_PURCHASE_CANCELED":
        return None
    if status in (SubStatus.ACTIVE, SubStatus.TRIAL):
        return E.SUBSCRIPTION_RESUMED if purchase.renews else E.SUBSCRIPTION_CANCELED
    return _TOLD.get(status)
