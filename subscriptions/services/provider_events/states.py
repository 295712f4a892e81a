"""Events about state alone. They never grant what money must; an extension that the provider made is its own to grant."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from providers.base import EventType, ProviderEvent
from subscriptions.billing import Source
from subscriptions.locks import subscription_lock, user_lock
from subscriptions.models import Checkout, Status, Subscription
from subscriptions.periods import Period
from subscriptions.provider_periods import latest_period, period_place
from subscriptions.services.provider_events.matching import checkout_of, linked, method_of
from subscriptions.services.provider_events.owners import is_replaced
from subscriptions.services.provider_events.payments import make_room
from subscriptions.services.provider_events.verdicts import PROCESSED, Applied, NotKnownYet, Verdict
from subscriptions.services.trials import trial_start
from subscriptions.standing import ENDED, ends, is_outdated, renewal, stands
from subscriptions.state import grace_end, renews_by_itself, subscription_update

OUTDATED = Applied(Verdict.PROCESSED, "older than what is known")
_TO = {
    EventType.SUBSCRIPTION_ACTIVATED: Status.ACTIVE,
    EventType.SUBSCRIPTION_RENEWED: Status.ACTIVE,
    EventType.SUBSCRIPTION_CANCELED: Status.ACTIVE,
    EventType.SUBSCRIPTION_RESUMED: Status.ACTIVE,
    EventType.SUBSCRIPTION_EXTENDED: Status.ACTIVE,
    EventType.SUBSCRIPTION_PLAN_CHANGED: Status.ACTIVE,
    EventType.SUBSCRIPTION_GRACE: Status.PAST_DUE,
    EventType.SUBSCRIPTION_ON_HOLD: Status.SUSPENDED,
    EventType.SUBSCRIPTION_PAUSED: Status.PAUSED,
    EventType.SUBSCRIPTION_EXPIRED: Status.EXPIRED,
    EventType.SUBSCRIPTION_REVOKED: Status.CANCELLED,
}
#: That it runs, its money says too, and more: without that they are nothing.
_RUNS = frozenset({EventType.SUBSCRIPTION_ACTIVATED, EventType.SUBSCRIPTION_RENEWED})
#: News of renewal: each looks at the register of its own, whatever the state.
_OF_RENEWAL = frozenset(
    {
        EventType.SUBSCRIPTION_ACTIVATED,
        EventType.SUBSCRIPTION_RENEWED,
        EventType.SUBSCRIPTION_CANCELED,
        EventType.SUBSCRIPTION_RESUMED,
    }
)
#: What the provider's word makes of a subscription; the others carry no state of their own.
STATES = frozenset(_TO)


def activated_without_money(event: ProviderEvent, now: datetime) -> Applied:
    """A checkout that took no money: it starts the trial it was made for. Else it says that a subscription runs."""
    checkout = checkout_of(event)
    if checkout is None or checkout.subscription_id is None or not checkout.trial_days:
        return state_reported(event, now)
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


def state_reported(event: ProviderEvent, now: datetime) -> Applied:
    """The provider's word about a subscription of its own. Raises NotKnownYet where its money has not been heard of."""
    with transaction.atomic():
        subscription = _locked(event)
        if subscription is None:
            return Applied(Verdict.IGNORED, "state alone grants nothing")
        if not renews_by_itself(subscription):
            return Applied(Verdict.IGNORED, "state alone grants nothing")
        if is_replaced(subscription, event):
            return Applied(Verdict.IGNORED, "of a purchase that was replaced")
        if event.type not in _OF_RENEWAL and is_outdated(subscription, event.occurred_at, _TO[event.type]):
            return OUTDATED
        if subscription.status == Status.PENDING:
            if event.type in _RUNS:
                return Applied(Verdict.IGNORED, "state alone grants nothing")
            raise _unpaid(event)
        if subscription.status in ENDED:
            if event.type == EventType.SUBSCRIPTION_CANCELED:
                subscription_update(subscription, **renewal(subscription, False, event.occurred_at))
            return Applied(Verdict.PROCESSED, "it has ended")
        return _apply(subscription, event, now)


def _unpaid(event: ProviderEvent) -> NotKnownYet:
    """Its money may be on its way. Where it never comes, what ended without it concerns nobody."""
    otherwise = Verdict.IGNORED if event.type == EventType.SUBSCRIPTION_EXPIRED else Verdict.REVIEW
    return NotKnownYet(f"{event.type} of what is not paid yet", otherwise=otherwise)


def _locked(event: ProviderEvent) -> Subscription | None:
    found = linked(event)
    if found is None:
        checkout = checkout_of(event)
        found = checkout.subscription if checkout else None
    if found is None and event.type in _RUNS:
        return None
    if found is None:
        raise _unpaid(event)
    user_lock(found.user_id)
    return subscription_lock(found.pk)


def _apply(subscription: Subscription, event: ProviderEvent, now: datetime) -> Applied:
    at, reason = event.occurred_at, event.type.removeprefix("subscription.")
    match event.type:
        case EventType.SUBSCRIPTION_CANCELED:
            subscription_update(subscription, **renewal(subscription, False, at))
        case EventType.SUBSCRIPTION_RESUMED | EventType.SUBSCRIPTION_ACTIVATED | EventType.SUBSCRIPTION_RENEWED:
            _resumed(subscription, at, now)
        case EventType.SUBSCRIPTION_GRACE:
            until = event.period_end or grace_end(subscription, at)
            stands(subscription, Status.PAST_DUE, occurred_at=at, reason=reason, at=now, grace_until=until)
        case EventType.SUBSCRIPTION_ON_HOLD:
            stands(
                subscription,
                Status.SUSPENDED,
                occurred_at=at,
                reason=reason,
                at=now,
                suspended_at=at,
                grace_until=None,
            )
        case EventType.SUBSCRIPTION_PAUSED:
            stands(subscription, Status.PAUSED, occurred_at=at, reason=reason, at=now, paused_at=at)
        case EventType.SUBSCRIPTION_EXPIRED:
            ends(subscription, Status.EXPIRED, occurred_at=at, reason=event.reason or reason, at=now)
        case EventType.SUBSCRIPTION_REVOKED:
            ends(subscription, Status.CANCELLED, occurred_at=at, reason=event.reason or reason, at=now)
        case EventType.SUBSCRIPTION_EXTENDED:
            _extended(subscription, event, now)
        case _:
            # Which product is paid for, the money of its period says.
            subscription_update(subscription, provider_seen_at=at)
    return PROCESSED


def _resumed(subscription: Subscription, occurred_at: datetime, now: datetime) -> None:
    """It renews again. What stood still runs on where it is paid; where it isn't, its money will come."""
    fields = renewal(subscription, True, occurred_at)
    paid = subscription.end_date is not None and subscription.end_date > now
    stood = subscription.status in (Status.PAUSED, Status.SUSPENDED, Status.PAST_DUE)
    if stood and paid and not is_outdated(subscription, occurred_at, Status.ACTIVE):
        fields |= {"grace_until": None, "suspended_at": None, "paused_at": None}
        stands(subscription, Status.ACTIVE, occurred_at=occurred_at, reason="resumed", at=now, **fields)
        return
    if not stood and not is_outdated(subscription, occurred_at, Status(subscription.status)):
        fields["provider_seen_at"] = occurred_at
    subscription_update(subscription, **fields)


def _extended(subscription: Subscription, event: ProviderEvent, now: datetime) -> None:
    """The provider gave time: a period without an invoice, from the end of what was paid."""
    end = subscription.end_date
    if event.period_end is None or end is None or event.period_end <= end:
        subscription_update(subscription, provider_seen_at=event.occurred_at)
        return
    period_place(
        subscription, Period(end, event.period_end), invoice=None, source=Source.PROVIDER, not_after=None, at=now
    )
    last = latest_period(subscription)
    assert last is not None
    subscription_update(subscription, end_date=last.end, provider_seen_at=event.occurred_at)
