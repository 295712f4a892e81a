"""The state machine of a subscription: one table, one writer, one pure function that knows what comes next.

Nothing else assigns `status`. The database refuses what the table lacks (trigger `subscriptions_transition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.db import models

from payflow.core import outbox
from payflow.core.errors import InvalidTransition
from payflow.core.sets import rows_update
from providers import registry
from providers.base import Caps
from subscriptions.models import Status, Subscription, SubscriptionEvent
from subscriptions.periods import Period, period_containing
from subscriptions.signals import access_changed

TRANSITIONS: dict[str, frozenset[str]] = {
    Status.PENDING: frozenset({Status.ACTIVE, Status.TRIAL, Status.EXPIRED, Status.CANCELLED}),
    Status.TRIAL: frozenset({Status.ACTIVE, Status.PAST_DUE, Status.EXPIRED, Status.CANCELLED}),
    Status.ACTIVE: frozenset({Status.PAST_DUE, Status.SUSPENDED, Status.PAUSED, Status.CANCELLED, Status.EXPIRED}),
    Status.PAST_DUE: frozenset({Status.ACTIVE, Status.SUSPENDED, Status.CANCELLED, Status.EXPIRED}),
    Status.SUSPENDED: frozenset({Status.ACTIVE, Status.CANCELLED, Status.EXPIRED}),
    Status.PAUSED: frozenset({Status.ACTIVE, Status.PAST_DUE, Status.CANCELLED, Status.EXPIRED}),
    Status.EXPIRED: frozenset({Status.ACTIVE}),
    Status.CANCELLED: frozenset({Status.ACTIVE}),
}


#: The actor of what happens by itself.
SYSTEM = "system"
#: Later than this after the due date is nobody's delay but ours: longer than any slack that a provider gets.
DOWNTIME = timedelta(days=2)


class Action(StrEnum):
    """What a due subscription waits for."""

    EXPIRE_CHECKOUT = "expire_checkout"
    ANNOUNCE_TRIAL_END = "announce_trial_end"
    RENEW = "renew"
    AWAIT_PROVIDER = "await_provider"
    END = "end"
    RETRY = "retry"
    SUSPEND = "suspend"
    CANCEL_SUSPENDED = "cancel_suspended"
    RESUME = "resume"


class NextAction(NamedTuple):
    kind: Action
    at: datetime


def next_action(subscription: Subscription) -> NextAction | None:
    """What happens to the subscription next if nobody does anything, and when (business time). Pure."""
    match subscription.status:
        case Status.PENDING:
            return NextAction(Action.EXPIRE_CHECKOUT, subscription.start_date + settings.CHECKOUT_LIFETIME)
        case Status.TRIAL | Status.ACTIVE:
            return _trial_notice(subscription) or _at_period_end(subscription)
        case Status.PAST_DUE:
            return _in_dunning(subscription)
        case Status.SUSPENDED:
            if subscription.suspended_at is None or not _dunned_by_us(subscription):
                return None  # on hold at the provider: never our timer
            return NextAction(
                Action.CANCEL_SUSPENDED, subscription.suspended_at + timedelta(days=settings.SUSPENDED_DAYS)
            )
        case Status.PAUSED:
            if subscription.resumes_at is None:
                return None
            if not subscription.auto_renew:
                return NextAction(Action.END, subscription.resumes_at)  # nothing more is billed
            if subscription.disputed_at is not None:
                return None  # a resume is charged
            return NextAction(Action.RESUME, subscription.resumes_at)
        case _:
            return None


class Renewing(Protocol):
    """What tells whether another period is to be billed, and who does it: a subscription, or a row of it."""

    @property
    def status(self) -> str: ...
    @property
    def cancelled_at(self) -> datetime | None: ...
    @property
    def disputed_at(self) -> datetime | None: ...
    @property
    def auto_renew(self) -> bool: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def provider_sub_id(self) -> str | None: ...
    @property
    def payment_method_id(self) -> object: ...


def renews(subscription: Renewing) -> bool:
    """Is another period to be billed after the present one? Not after a cancel, nor while a dispute is open."""
    return subscription.cancelled_at is None and subscription.auto_renew and subscription.disputed_at is None


def _trial_notice(subscription: Subscription) -> NextAction | None:
    ends = subscription.trial_ends_at
    if subscription.status != Status.TRIAL or ends is None or subscription.trial_notified_at is not None:
        return None
    if not renews(subscription):
        return None
    at = max(ends - timedelta(days=settings.TRIAL_NOTICE_DAYS), subscription.start_date)
    return NextAction(Action.ANNOUNCE_TRIAL_END, at) if at < ends else None


def _at_period_end(subscription: Subscription) -> NextAction | None:
    end = subscription.end_date
    if end is None:
        return None  # free
    if not renews(subscription):
        return NextAction(Action.END, end)
    if renews_by_itself(subscription):
        return NextAction(Action.AWAIT_PROVIDER, end + settings.RENEWAL_SLACK_PROVIDER)
    return NextAction(Action.RENEW, end)


def _in_dunning(subscription: Subscription) -> NextAction:
    assert subscription.end_date is not None and subscription.grace_until is not None, "past due since its end date"
    if not subscription.auto_renew:
        return NextAction(Action.END, subscription.grace_until)
    if subscription.dunning_from is None and renews_by_itself(subscription):
        return NextAction(Action.AWAIT_PROVIDER, subscription.grace_until)  # its grace, and its retries
    days = settings.DUNNING_DAYS
    if subscription.disputed_at is None and subscription.dunning_step < len(days):
        at = (subscription.dunning_from or subscription.end_date) + timedelta(days=days[subscription.dunning_step])
        if at < unpaid_period(subscription).end:
            return NextAction(Action.RETRY, at)
    # Already past where the last retry came after the grace: then it happens at once.
    return NextAction(Action.SUSPEND, subscription.grace_until)


def unpaid_period(subscription: Subscription) -> Period:
    """The period that starts where the paid one ends. Grace and dunning end no later than it does.

    After a change of zone the grid of periods lies some hours (at a month's end a day) off the end of the paid one: the
    period to pay is the one whose start lies nearest, begun where the paid one ended. A resume begins in the middle of a
    period and pays to its end, near as that may be.
    """
    end = subscription.end_date
    assert end is not None, "a free subscription has no period to pay"
    grid = partial(
        period_containing,
        subscription.anchor,
        subscription.billing_cycle,
        interval=subscription.billing_interval,
        tz=subscription.timezone,
    )
    period = grid(at=end)
    resumed = subscription.current_period_start == end
    if not resumed and end - period.start > period.end - end:
        period = grid(at=period.end)
    return Period(end, period.end)


def dunning_start(subscription: Subscription, at: datetime) -> datetime:
    """From when grace and retries count: the due date. Where we ask only days later, because we were down, from then."""
    assert subscription.end_date is not None, "a free subscription owes nothing"
    return at if at - subscription.end_date > DOWNTIME else subscription.end_date


def grace_end(subscription: Subscription, since: datetime) -> datetime:
    """Until when a subscription whose payment is due keeps access: GRACE_DAYS, within the unpaid period."""
    return min(since + timedelta(days=settings.GRACE_DAYS), unpaid_period(subscription).end)


def renews_by_itself(subscription: Renewing) -> bool:
    """True where the provider charges on its own and tells us: not in a trial that it has never heard of."""
    caps = _capabilities(subscription.provider)
    if subscription.status == Status.TRIAL and not (subscription.payment_method_id or subscription.provider_sub_id):
        return False
    return caps is not None and caps.renewal_driver == "provider"


def is_priced_by_provider(provider: str | None) -> bool:
    """True where the provider sets price and periods, and what it reports is what was sold."""
    caps = _capabilities(provider)
    return caps is not None and caps.price_set_by == "provider"


def is_sold_by_provider(subscription: Subscription) -> bool:
    """True where the provider is merchant of record: taxes and invoices for the buyer are its own."""
    caps = _capabilities(subscription.provider)
    return caps is not None and caps.merchant_of_record


def _dunned_by_us(subscription: Subscription) -> bool:
    """We charge, or at least send the link: then our timers end it. Elsewhere the provider's words do."""
    caps = _capabilities(subscription.provider)
    return caps is None or caps.renewal_driver == "merchant" or caps.payment_link


def _capabilities(provider: str | None) -> Caps | None:
    if provider is None or provider not in registry.names():
        return None
    return registry.get(provider).capabilities


# --- the one writer --------------------------------------------------------------------------------------------------


def subscription_start(subscription: Subscription, *, reason: str, actor: str, at: datetime) -> None:
    """Inserts a new subscription in its first status and records it."""
    _schedule(subscription)
    subscription.save(force_insert=True)
    _announce([subscription])
    _record(subscription, "", reason=reason, actor=actor, at=at)


def subscription_move(
    subscription: Subscription, to: Status, *, reason: str, actor: str, at: datetime, **fields: Any
) -> None:
    """Takes one step of the table together with the fields that change with it. The caller holds the row's lock.

    Raises InvalidTransition, with nothing changed, where the table lacks the step.
    """
    before = subscription.status
    if to not in TRANSITIONS[before]:
        raise InvalidTransition(f"A subscription that is {before} cannot become {to}")
    subscription.status = to
    subscription_update(subscription, **fields)
    _record(subscription, before, reason=reason, actor=actor, at=at)


def subscription_update(subscription: Subscription, *, lease_until: datetime | None = None, **fields: Any) -> None:
    """Writes fields other than `status` and what follows from them. The caller holds the row's lock.

    `lease_until` keeps the sweep away while a call to the provider is under way.
    """
    for name, value in fields.items():
        setattr(subscription, name, value)
    _schedule(subscription)
    if lease_until is not None:
        subscription.next_action_at = lease_until
    subscription.save()
    _announce([subscription])


def subscriptions_write(rows: Sequence[Subscription], fields: Sequence[str]) -> None:
    """Writes `fields`, set on rows that the caller has locked, and what follows from them, in one statement."""
    for row in rows:
        _schedule(row)
    rows_update(rows, [*fields, "next_action_at"])
    _announce(rows)


def subscriptions_lease(rows: Sequence[Subscription], until: datetime) -> None:
    """Keeps the sweep away from rows that the caller has locked, while calls to the provider are under way."""
    for row in rows:
        row.next_action_at = until
    rows_update(rows, ["next_action_at"])


def _schedule(subscription: Subscription) -> None:
    upcoming = next_action(subscription)
    subscription.next_action_at = upcoming.at if upcoming else None


def _announce(rows: Sequence[Subscription]) -> None:
    access_changed.send(sender=Subscription, user_ids={row.user_id for row in rows})


def _record(subscription: Subscription, before: str, *, reason: str, actor: str, at: datetime) -> None:
    last = subscription.events.aggregate(last=models.Max("sequence"))["last"] or 0
    event = SubscriptionEvent.objects.create(
        subscription=subscription,
        sequence=last + 1,
        from_status=before,
        to_status=subscription.status,
        reason=reason,
        actor=actor,
        at=at,
    )
    outbox.emit(
        type=f"subscription.{subscription.status}",
        subject_type="subscription",
        subject_id=subscription.pk,
        payload={"sequence": event.sequence, "from": before, "to": subscription.status, "reason": reason},
        at=at,
    )
