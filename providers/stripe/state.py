"""A subscription of Stripe Billing as the contract's SubState, and as the one event that says the same."""

from __future__ import annotations

import logging
from datetime import datetime

from providers.base import EventType, ProviderEvent, SubState, SubStatus
from providers.stripe.wire import (
    Object,
    item_of,
    optional_moment,
    period_of,
    price_of,
    refs_of,
    required_id,
    section,
)

#: Stripe's `canceled` is an end for good; what we call canceled is an active one that does not renew.
STATUSES = {
    "incomplete": SubStatus.PENDING,
    "incomplete_expired": SubStatus.EXPIRED,
    "trialing": SubStatus.TRIAL,
    "active": SubStatus.ACTIVE,
    "past_due": SubStatus.PAST_DUE,
    "canceled": SubStatus.EXPIRED,
    "unpaid": SubStatus.ON_HOLD,
    "paused": SubStatus.PAUSED,
}
STATE_EVENTS = {
    SubStatus.PENDING: EventType.SUBSCRIPTION_CREATED,
    SubStatus.TRIAL: EventType.SUBSCRIPTION_ACTIVATED,
    SubStatus.ACTIVE: EventType.SUBSCRIPTION_ACTIVATED,
    SubStatus.PAST_DUE: EventType.SUBSCRIPTION_GRACE,
    SubStatus.ON_HOLD: EventType.SUBSCRIPTION_ON_HOLD,
    SubStatus.PAUSED: EventType.SUBSCRIPTION_PAUSED,
    SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
    SubStatus.EXPIRED: EventType.SUBSCRIPTION_EXPIRED,
}

log = logging.getLogger(__name__)


def state_of(subscription: Object, *, as_of: datetime | None = None, is_test: bool = False) -> SubState:
    """Raises MalformedError. An unknown status is UNKNOWN."""
    status = _status(subscription)
    start, until = usable_period(subscription, status)
    refs = refs_of(subscription.get("metadata"))
    return SubState(
        provider_sub_id=required_id(subscription, "id"),
        status=status,
        auto_renew=_renews(subscription, status),
        period_start=start,
        period_end=until,
        provider_plan_ref=price_of(item_of(subscription)),
        user_ref=refs.user,
        as_of=as_of,
        is_test=is_test,
    )


def usable_period(
    subscription: Object, status: SubStatus, *, ended_at: datetime | None = None
) -> tuple[datetime | None, datetime | None]:
    """The period that runs, as far as it may be used; without a beginning where nothing of it may. `ended_at` decides."""
    start, end = period_of(subscription)
    until = ended_at or _usable_until(subscription, status, start, end)
    return (None if start and until and until <= start else start), until


def _usable_until(
    subscription: Object, status: SubStatus, start: datetime | None, end: datetime | None
) -> datetime | None:
    """Until when Stripe lets it be used. While a payment is outstanding the period that runs is the unpaid one.

    PAST_DUE has no date at Stripe: how long it tries again is a setting of the account's, so our own grace holds.
    """
    if status is SubStatus.PAST_DUE:
        return None
    if status is SubStatus.ON_HOLD:
        return start
    if status is SubStatus.EXPIRED:
        return optional_moment(subscription.get("ended_at"), "ended_at") or end
    stops = optional_moment(subscription.get("cancel_at"), "cancel_at")
    trial = optional_moment(subscription.get("trial_end"), "trial_end") if status is SubStatus.TRIAL else None
    until = trial or end
    return min(stops, until) if stops and until else until


def is_ending(subscription: Object) -> bool:
    """True where it will not renew: `cancel_at_period_end`, or a `cancel_at` within the period that runs."""
    if subscription.get("cancel_at_period_end") is True:
        return True
    stops = optional_moment(subscription.get("cancel_at"), "cancel_at")
    end = period_of(subscription)[1]
    return stops is not None and end is not None and stops <= end


def state_event(
    subscription: Object, *, provider: str, as_of: datetime, is_test: bool, raw: Object
) -> ProviderEvent | None:
    """The state as one event; None where Stripe's word for it is not known."""
    state = state_of(subscription, as_of=as_of, is_test=is_test)
    type_ = STATE_EVENTS.get(state.status)
    if type_ is None:
        return None
    refs = refs_of(subscription.get("metadata"))
    return ProviderEvent(
        provider=provider,
        event_id=f"stripe:{state.provider_sub_id}:{state.status}:{int(as_of.timestamp())}#0",
        type=type_,
        occurred_at=as_of,
        provider_sub_id=state.provider_sub_id,
        order_ref=refs.order,
        user_ref=refs.user,
        plan_ref=refs.plan,
        provider_plan_ref=state.provider_plan_ref,
        period_start=state.period_start,
        period_end=state.period_end,
        is_trial=state.status is SubStatus.TRIAL,
        is_test=is_test,
        raw=raw,
    )


def _status(subscription: Object) -> SubStatus:
    word = subscription.get("status")
    status = STATUSES.get(word, SubStatus.UNKNOWN) if isinstance(word, str) else SubStatus.UNKNOWN
    if status is SubStatus.UNKNOWN:
        log.warning("stripe: a subscription has a status that is not known")
    if status in (SubStatus.ACTIVE, SubStatus.TRIAL):
        if section(subscription, "pause_collection"):
            return SubStatus.PAUSED
        if is_ending(subscription):
            return SubStatus.CANCELED
    return status


def _renews(subscription: Object, status: SubStatus) -> bool | None:
    if status is SubStatus.UNKNOWN:
        return None
    return status not in (SubStatus.CANCELED, SubStatus.EXPIRED) and not is_ending(subscription)
