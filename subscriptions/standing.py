"""How a subscription stands after news of its provider: any order of the same news comes to the same end.

Money adds periods, whenever it is heard of. States are a register: of two the one with the later time of the provider's
holds (`provider_seen_at`), and at the same moment the graver. What is older moves nothing. Whether it renews is a register of
its own (`renewal_seen_at`): who cancels while a payment is retried says nothing about that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from subscriptions.models import BillingPeriod, CommandKind, CommandStatus, ProviderCommand, Status, Subscription
from subscriptions.provider_periods import first_period, latest_period, periods_cut
from subscriptions.state import SYSTEM, TRANSITIONS, subscription_move, subscription_update

ENDED = frozenset({Status.EXPIRED, Status.CANCELLED})
#: Of two states at the same moment the one that stands later here holds.
_GRAVITY = [
    Status.PENDING,
    Status.TRIAL,
    Status.ACTIVE,
    Status.PAUSED,
    Status.PAST_DUE,
    Status.SUSPENDED,
    *sorted(ENDED),
]
_RUNNING: dict[str, Any] = {
    "grace_until": None,
    "suspended_at": None,
    "paused_at": None,
    "resumes_at": None,
    "dunning_from": None,
    "dunning_step": 0,
}


def is_outdated(subscription: Subscription, occurred_at: datetime, to: Status) -> bool:
    """Has the provider told of a later state already?"""
    seen = subscription.provider_seen_at
    if seen is None or occurred_at > seen:
        return False
    return occurred_at < seen or _GRAVITY.index(to) < _GRAVITY.index(Status(subscription.status))


def ended_at(subscription: Subscription, occurred_at: datetime) -> datetime | None:
    """When the provider ended it, after `occurred_at`: money of before grants nothing beyond, however late it is heard of."""
    if subscription.status not in ENDED:
        return None
    end = subscription.provider_seen_at or subscription.end_date
    return end if end is not None and occurred_at <= end else None


def commands_under_way(subscription: Subscription) -> QuerySet[ProviderCommand]:
    """What the provider that keeps it now has not confirmed yet; one that was left may have something to hear too."""
    return subscription.commands.filter(
        status=ProviderCommand.Status.PENDING,
        provider=subscription.provider,
        provider_sub_id=subscription.provider_sub_id,
    )


def runs(subscription: Subscription, *, occurred_at: datetime, reason: str, at: datetime, **fields: Any) -> None:
    """Money came for it: it is active to the end of what was paid, unless a later state says otherwise."""
    fields = {**fields, **_as_paid(subscription)}
    outdated = is_outdated(subscription, occurred_at, Status.ACTIVE)
    if not outdated or subscription.status not in ENDED:
        fields |= renewal(subscription, True, occurred_at)
    if outdated:
        subscription_update(subscription, **fields)
        return
    fields |= {**_RUNNING, "provider_seen_at": occurred_at}
    if subscription.status in ENDED and not _is_cancelled_since(subscription, occurred_at):
        fields["cancelled_at"] = None  # bought again
    if subscription.status == Status.ACTIVE:
        subscription_update(subscription, **fields)
        return
    subscription_move(subscription, Status.ACTIVE, reason=reason, actor=SYSTEM, at=at, **fields)


def renewal(subscription: Subscription, renews: bool, occurred_at: datetime) -> dict[str, Any]:
    """The fields by which it renews, or doesn't, unless later news said otherwise.

    A cancellation that the provider has not heard of yet is not undone by what it says meanwhile.
    """
    seen = subscription.renewal_seen_at
    if seen is not None and occurred_at < seen:
        return {}
    if renews and _is_cancelled_since(subscription, occurred_at):
        return {}
    fields: dict[str, Any] = {"auto_renew": renews, "renewal_seen_at": occurred_at}
    return fields | ({"cancelled_at": None} if renews else {})


def _is_cancelled_since(subscription: Subscription, occurred_at: datetime) -> bool:
    """Was a cancel of ours heard only after that moment, or not yet? The last wish decides."""
    wishes = subscription.commands.filter(
        kind__in=[CommandKind.CANCEL, CommandKind.RESUME],
        status__in=[CommandStatus.PENDING, CommandStatus.CONFIRMED],
    )
    last = wishes.order_by("-created_at", "-pk").first()
    if last is None or last.kind != CommandKind.CANCEL:
        return False
    return last.confirmed_at is None or last.confirmed_at >= occurred_at


def stands(
    subscription: Subscription, to: Status, *, occurred_at: datetime, reason: str, at: datetime, **fields: Any
) -> None:
    """The provider's state: `to`, through what lies between where the table asks for a step. It is not outdated."""
    fields["provider_seen_at"] = occurred_at
    if subscription.status == to:
        subscription_update(subscription, **fields)
        return
    if to not in TRANSITIONS[subscription.status]:
        between = next(each for each in (Status.ACTIVE, Status.PAST_DUE) if _leads(subscription, each, to))
        grace = {"grace_until": occurred_at} if between == Status.PAST_DUE else {}
        subscription_move(subscription, between, reason=reason, actor=SYSTEM, at=at, **grace)
    subscription_move(subscription, to, reason=reason, actor=SYSTEM, at=at, **fields)


def ends(subscription: Subscription, to: Status, *, occurred_at: datetime, reason: str, at: datetime) -> None:
    """Nothing more is granted, from the end of what was paid or the provider's moment, whichever came first."""
    until = subscription.end_date or occurred_at
    end = max(min(until, occurred_at), subscription.start_date)
    periods_cut(subscription, end=end, at=at)
    fields = {
        **_RUNNING,
        "end_date": end,
        "auto_renew": False,
        "cancelled_at": subscription.cancelled_at or occurred_at,
    }
    stands(subscription, to, occurred_at=occurred_at, reason=reason, at=at, **fields)


def _as_paid(subscription: Subscription) -> dict[str, Any]:
    """What a subscription copies of its periods: from the first its start, from the latest all else."""
    first, last = first_period(subscription), latest_period(subscription)
    if first is None or last is None:
        return {}  # all that was paid for lies after its end
    fields: dict[str, Any] = {
        "start_date": first.start,
        "anchor": last.start,
        "current_period_start": last.start,
        "end_date": last.end,
    }
    if last.source == BillingPeriod.Source.PROVIDER and last.amount:
        fields |= {"plan": last.plan, "amount": last.amount, "currency": last.currency}
        fields |= {"billing_cycle": last.cycle, "billing_interval": last.plan.billing_interval}
    return fields


def _leads(subscription: Subscription, between: Status, to: Status) -> bool:
    return between in TRANSITIONS[subscription.status] and to in TRANSITIONS[between]
