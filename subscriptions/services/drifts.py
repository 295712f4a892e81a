"""An operator settles where a provider's state and ours disagree: by adopting its side, or by telling it ours."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import transaction

from payflow.core import audit
from payflow.core.errors import InvalidTransition, NotFound
from payflow.core.locks import lock_rows
from providers import registry
from providers.base import SubStatus
from subscriptions.billing import Source
from subscriptions.locks import subscription_lock
from subscriptions.models import CommandKind, DriftResolution, ProviderDrift, Status, Subscription
from subscriptions.periods import Period
from subscriptions.provider_periods import period_place, periods_cut
from subscriptions.services.commands import command_give
from subscriptions.standing import ENDED, ends, stands

_STANDS = {
    SubStatus.TRIAL: Status.ACTIVE,
    SubStatus.ACTIVE: Status.ACTIVE,
    SubStatus.CANCELED: Status.ACTIVE,
    SubStatus.PAST_DUE: Status.PAST_DUE,
    SubStatus.ON_HOLD: Status.SUSPENDED,
    SubStatus.PAUSED: Status.PAUSED,
    SubStatus.EXPIRED: Status.EXPIRED,
    SubStatus.REVOKED: Status.CANCELLED,
}


def drift_adopt_theirs(*, drift_id: uuid.UUID, actor: str, now: datetime) -> ProviderDrift:
    """The provider is right: the subscription stands as it says, for as long as it says; no money is booked for that.

    Raises NotFound, InvalidTransition (resolved before, or a word that we have no state for).
    """
    with transaction.atomic():
        drift, subscription = _locked(drift_id)
        to = _STANDS.get(SubStatus(drift.theirs["status"]))
        if to is None:
            raise InvalidTransition("The provider's state has no counterpart here")
        if to in ENDED:
            ends(subscription, to, occurred_at=now, reason="drift_adopted", at=now)
        else:
            end = _run_to(subscription, drift.theirs.get("period_end"), now)
            fields = _fields(to, end, now) | {"end_date": end}
            if "auto_renew" in drift.theirs:
                fields["auto_renew"] = drift.theirs["auto_renew"]
                fields["cancelled_at"] = None
            stands(subscription, to, occurred_at=now, reason="drift_adopted", at=now, **fields)
        return drift_resolve(drift, DriftResolution.THEIRS, actor=actor, at=now)


def drift_adopt_ours(*, drift_id: uuid.UUID, actor: str, now: datetime) -> ProviderDrift:
    """We are right: the provider is told. Raises NotFound, InvalidTransition where no command would say so.

    None moves the end of a provider's period.
    """
    with transaction.atomic():
        drift, subscription = _locked(drift_id)
        if _only_the_end_differs(drift):
            raise InvalidTransition(
                "The provider cannot be told when its period ends: adopt its state, or change it there"
            )
        command_give(subscription, _command_for(subscription), actor=actor, at=now)
        return drift_resolve(drift, DriftResolution.OURS, actor=actor, at=now)


def drift_resolve(drift: ProviderDrift, resolution: DriftResolution, *, actor: str, at: datetime) -> ProviderDrift:
    """Closes it. `actor` is empty where they agree again by themselves. The caller holds the subscription's lock."""
    drift.resolved_at, drift.resolution, drift.actor = at, resolution, actor
    drift.save()
    if actor:
        audit.record(
            actor=actor,
            action="provider_drift.resolve",
            subject_type="subscription",
            subject_id=drift.subscription_id,
            data={"resolution": resolution, "ours": drift.ours, "theirs": drift.theirs},
        )
    return drift


def _locked(drift_id: uuid.UUID) -> tuple[ProviderDrift, Subscription]:
    found = ProviderDrift.objects.filter(pk=drift_id).first()
    if found is None:
        raise NotFound("There is no such drift")
    subscription = subscription_lock(found.subscription_id)
    [drift] = lock_rows(ProviderDrift.objects.filter(pk=drift_id))
    if drift.resolved_at is not None:
        raise InvalidTransition("It was resolved before")
    return drift, subscription


def _run_to(subscription: Subscription, period_end: str | None, now: datetime) -> datetime | None:
    """Grants or takes back the time between our end and theirs, and returns the end."""
    end = subscription.end_date
    if period_end is None or end is None:
        return end
    theirs = datetime.fromisoformat(period_end)
    if theirs > end:
        period_place(subscription, Period(end, theirs), invoice=None, source=Source.MANUAL, not_after=None, at=now)
    else:
        theirs = max(theirs, subscription.start_date)
        periods_cut(subscription, end=theirs, at=now)
    return theirs


def _fields(to: Status, end: datetime | None, now: datetime) -> dict[str, Any]:
    cleared: dict[str, Any] = {"grace_until": None, "suspended_at": None, "paused_at": None}
    match to:
        case Status.PAST_DUE:
            return cleared | {"grace_until": max(end, now) if end else now}
        case Status.SUSPENDED:
            return cleared | {"suspended_at": now}
        case Status.PAUSED:
            return cleared | {"paused_at": now}
        case _:
            return cleared


def _only_the_end_differs(drift: ProviderDrift) -> bool:
    """Both sides of a drift name the state, for the reader, also where it is the same."""
    ours = Status.ACTIVE if drift.ours["status"] == Status.TRIAL else drift.ours["status"]
    return "auto_renew" not in drift.ours and _STANDS.get(SubStatus(drift.theirs["status"])) == ours


def _command_for(subscription: Subscription) -> CommandKind:
    """What would bring the provider to our state."""
    assert subscription.provider is not None
    caps = registry.get(subscription.provider).capabilities
    if subscription.status in ENDED and caps.cancel_now:
        return CommandKind.CANCEL_NOW
    if subscription.status == Status.PAUSED and caps.pause:
        return CommandKind.PAUSE
    stops = subscription.cancelled_at is not None or not subscription.auto_renew
    if subscription.is_live and stops and caps.cancel_at_period_end:
        return CommandKind.CANCEL
    if subscription.is_live and not stops and caps.resume:
        return CommandKind.RESUME
    raise InvalidTransition("The provider cannot be told: adopt its state, or change it over there")
