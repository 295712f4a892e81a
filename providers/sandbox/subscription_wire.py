"""Reading how the sandbox shows a subscription of its own, in answers and deliveries. Raises MalformedError."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from providers.base import EventType, ProviderEvent, SubState, SubStatus
from providers.wire.fields import moment_of, optional_text, required_text

#: Its words for what became of a subscription.
STATE_EVENTS = {
    "subscription.trial_started": EventType.SUBSCRIPTION_ACTIVATED,
    "subscription.activated": EventType.SUBSCRIPTION_ACTIVATED,
    "subscription.renewed": EventType.SUBSCRIPTION_RENEWED,
    "subscription.canceled": EventType.SUBSCRIPTION_CANCELED,
    "subscription.resumed": EventType.SUBSCRIPTION_RESUMED,
    "subscription.paused": EventType.SUBSCRIPTION_PAUSED,
    "subscription.plan_changed": EventType.SUBSCRIPTION_PLAN_CHANGED,
    "subscription.extended": EventType.SUBSCRIPTION_EXTENDED,
    "subscription.grace": EventType.SUBSCRIPTION_GRACE,
    "subscription.on_hold": EventType.SUBSCRIPTION_ON_HOLD,
    "subscription.expired": EventType.SUBSCRIPTION_EXPIRED,
    "subscription.revoked": EventType.SUBSCRIPTION_REVOKED,
}
_STATUSES = {
    "trial": SubStatus.TRIAL,
    "active": SubStatus.ACTIVE,
    "past_due": SubStatus.PAST_DUE,
    "on_hold": SubStatus.ON_HOLD,
    "paused": SubStatus.PAUSED,
    "expired": SubStatus.EXPIRED,
    "revoked": SubStatus.REVOKED,
}
#: What a state is told as, where nobody tells how it came about.
_TOLD_AS = {
    SubStatus.TRIAL: EventType.SUBSCRIPTION_ACTIVATED,
    SubStatus.ACTIVE: EventType.SUBSCRIPTION_RENEWED,
    SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
    SubStatus.PAST_DUE: EventType.SUBSCRIPTION_GRACE,
    SubStatus.ON_HOLD: EventType.SUBSCRIPTION_ON_HOLD,
    SubStatus.PAUSED: EventType.SUBSCRIPTION_PAUSED,
    SubStatus.EXPIRED: EventType.SUBSCRIPTION_EXPIRED,
    SubStatus.REVOKED: EventType.SUBSCRIPTION_REVOKED,
}

log = logging.getLogger(__name__)


def state_of(shown: Mapping[str, Any]) -> SubState:
    """Its state; a word that is not known is UNKNOWN, and a line in the log.

    What doesn't renew any more is CANCELED while it lasts.
    """
    word = required_text(shown, "status")
    status = _STATUSES.get(word, SubStatus.UNKNOWN)
    if status is SubStatus.UNKNOWN:
        log.warning("sandbox: status %r of a subscription is not known", word)
    auto_renew = shown.get("auto_renew") is True
    if status in (SubStatus.TRIAL, SubStatus.ACTIVE) and not auto_renew:
        status = SubStatus.CANCELED
    return SubState(
        provider_sub_id=required_text(shown, "id"),
        status=status,
        auto_renew=None if status is SubStatus.UNKNOWN else auto_renew,
        period_start=moment_of(shown.get("period_start"), "period_start"),
        period_end=usable_until(shown),
        provider_plan_ref=required_text(shown, "product_ref"),
        user_ref=optional_text(shown, "user_ref"),
        as_of=moment_of(shown.get("as_of"), "as_of"),
        replaces=optional_text(shown, "replaces"),
        unacknowledged=shown.get("unacknowledged") is True,
        is_test=shown.get("test") is True,
    )


def state_event(provider: str, shown: Mapping[str, Any]) -> ProviderEvent | None:
    """The state as the event that tells it; None where its word is not known."""
    state = state_of(shown)
    type_ = _TOLD_AS.get(state.status)
    if type_ is None:
        return None
    assert state.as_of is not None, "it is required"
    return ProviderEvent(
        provider=provider,
        event_id=f"state:{state.provider_sub_id}:{state.status}:{state.as_of.isoformat()}#0",
        type=type_,
        occurred_at=state.as_of,
        **subscription_fields(shown),
        period_start=state.period_start,
        period_end=state.period_end,
        is_trial=state.status is SubStatus.TRIAL,
        raw=shown,
    )


def subscription_fields(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What every event of a subscription says of it."""
    return {
        "provider_sub_id": required_text(shown, "id"),
        "order_ref": optional_text(shown, "order_ref"),
        "user_ref": optional_text(shown, "user_ref"),
        "plan_ref": optional_text(shown, "plan_ref"),
        "provider_plan_ref": required_text(shown, "product_ref"),
        "replaces": optional_text(shown, "replaces"),
        "unacknowledged": shown.get("unacknowledged") is True,
        "is_test": shown.get("test") is True,
    }


def usable_until(shown: Mapping[str, Any]) -> datetime:
    """The end of what is paid, in grace that of the grace."""
    grace = shown.get("grace_until")
    return moment_of(shown.get("period_end"), "period_end") if grace is None else moment_of(grace, "grace_until")
