"""What a subscription of Stripe Billing became, by its status and by what changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from providers.base import EventType, ProviderEvent, SubStatus
from providers.stripe.notice import Notice
from providers.stripe.state import STATUSES, is_ending, usable_period
from providers.stripe.wire import item_of, items_of, optional_moment, price_of, refs_of, required_id, section
from providers.wire.fields import usable_text

#: What a status that has just been reached is called. active and trialing are below: there it matters where from.
_REACHED = {
    "past_due": EventType.SUBSCRIPTION_GRACE,
    "unpaid": EventType.SUBSCRIPTION_ON_HOLD,
    "paused": EventType.SUBSCRIPTION_PAUSED,
    "canceled": EventType.SUBSCRIPTION_EXPIRED,
    "incomplete_expired": EventType.SUBSCRIPTION_EXPIRED,
}
_RUNNING = ("active", "trialing")


def created(notice: Notice) -> list[ProviderEvent]:
    told = [_event(notice, EventType.SUBSCRIPTION_CREATED)]
    if notice.object.get("status") in _RUNNING:
        told.append(_event(notice, EventType.SUBSCRIPTION_ACTIVATED))
    return told


def updated(notice: Notice) -> list[ProviderEvent]:
    """One event for each thing that changed; [] for what is nobody's business (metadata, a default method)."""
    return [_event(notice, type_) for type_ in _changes(notice)]


def deleted(notice: Notice) -> list[ProviderEvent]:
    """It has ended for good, at once or at its period's end."""
    reason = usable_text(section(notice.object, "cancellation_details").get("reason"))
    ended_at = optional_moment(notice.object.get("ended_at"), "ended_at") or notice.created
    return [_event(notice, EventType.SUBSCRIPTION_EXPIRED, ended_at, reason=reason)]


def paused(notice: Notice) -> list[ProviderEvent]:
    return [_event(notice, EventType.SUBSCRIPTION_PAUSED)]


def resumed(notice: Notice) -> list[ProviderEvent]:
    return [_event(notice, EventType.SUBSCRIPTION_RESUMED)]


def _changes(notice: Notice) -> Iterator[EventType]:
    now, before = notice.object, notice.previous
    status = now.get("status")
    if "status" in before and before["status"] != status:
        if status in _RUNNING:
            was_paused = before["status"] == "paused"
            yield EventType.SUBSCRIPTION_RESUMED if was_paused else EventType.SUBSCRIPTION_ACTIVATED
        elif isinstance(status, str) and status in _REACHED:
            yield _REACHED[status]
    elif status == "trialing" and "trial_end" in before:
        yield EventType.SUBSCRIPTION_EXTENDED
    if status not in ("canceled", "incomplete_expired"):
        if "cancel_at_period_end" in before or "cancel_at" in before:
            yield EventType.SUBSCRIPTION_CANCELED if is_ending(now) else EventType.SUBSCRIPTION_RESUMED
        if "pause_collection" in before:
            is_paused = bool(section(now, "pause_collection"))
            yield EventType.SUBSCRIPTION_PAUSED if is_paused else EventType.SUBSCRIPTION_RESUMED
        if _old_price(notice) not in (None, price_of(item_of(now))):
            yield EventType.SUBSCRIPTION_PLAN_CHANGED


def _old_price(notice: Notice) -> str | None:
    """The Price before, where it is among what changed: in the items, or (2017) as the subscription's own plan."""
    items = items_of(notice.previous.get("items"))
    return price_of(items[0]) if items else price_of(notice.previous)


def _event(notice: Notice, type_: EventType, ended_at: datetime | None = None, **values: Any) -> ProviderEvent:
    subscription = notice.object
    word = subscription.get("status")
    status = STATUSES.get(word, SubStatus.UNKNOWN) if isinstance(word, str) else SubStatus.UNKNOWN
    if type_ is EventType.SUBSCRIPTION_EXPIRED:
        status = SubStatus.EXPIRED
    start, until = usable_period(subscription, status, ended_at=ended_at)
    return notice.event(
        type_,
        refs_of(subscription.get("metadata")),
        **{
            "provider_sub_id": required_id(subscription, "id"),
            "provider_plan_ref": price_of(item_of(subscription)),
            "period_start": start,
            "period_end": until,
            "is_trial": status is SubStatus.TRIAL,
            **values,
        },
    )
