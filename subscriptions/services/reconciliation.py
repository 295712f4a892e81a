"""The provider's state against ours: what was missed is applied, what still disagrees is reported to operators.

Asked when a renewal has not been seen, once a day for each subscription that a provider keeps, and on demand. What the
provider's records tell goes the same way as its webhooks, with the same keys: nothing is applied twice.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from payflow.core.errors import NotFound, ProviderUnavailable
from payflow.core.locks import claim_rows
from providers import registry
from providers.base import ProviderError, ProviderEvent, SubState, SubStatus, UnknownReference
from subscriptions.errors import ProviderManaged
from subscriptions.locks import subscription_lock
from subscriptions.models import (
    LIVE,
    Checkout,
    DriftResolution,
    ProviderDrift,
    ProviderFeed,
    Status,
    Subscription,
)
from subscriptions.services.drifts import drift_resolve
from subscriptions.services.provider_events import NotKnownYet, provider_event_apply
from subscriptions.standing import commands_under_way
from subscriptions.state import renews_by_itself

#: So often each subscription that a provider keeps is looked at without a reason.
CHECK_EVERY = timedelta(days=1)
#: What waits for its first payment is asked about more often.
CHECK_UNPAID_EVERY = timedelta(hours=1)
#: After a failure, so long until the next try.
TRY_AGAIN = timedelta(hours=1)
#: Records are read from so long before the newest that we know: clocks differ, and news overtake each other.
OVERLAP = timedelta(days=2)
#: How far back a list of news is read the first time: providers keep them for 30 days or more (providers.md 7.14).
FIRST_READ = timedelta(days=30)
FEED_OVERLAP = timedelta(hours=6)
#: A journey of the test clock sweeps at every due moment, in no real time: nobody has told anything new by then.
READ_AGAIN = timedelta(minutes=5)

_OURS = {
    SubStatus.TRIAL: {Status.TRIAL, Status.ACTIVE},
    SubStatus.ACTIVE: {Status.ACTIVE, Status.TRIAL},
    SubStatus.CANCELED: {Status.ACTIVE, Status.TRIAL, Status.CANCELLED, Status.EXPIRED},
    SubStatus.PAST_DUE: {Status.PAST_DUE},
    SubStatus.ON_HOLD: {Status.SUSPENDED},
    SubStatus.PAUSED: {Status.PAUSED},
    SubStatus.EXPIRED: {Status.EXPIRED, Status.CANCELLED},
    SubStatus.REVOKED: {Status.CANCELLED, Status.EXPIRED},
    SubStatus.PENDING: {Status.PENDING},
}
#: Period ends this close are the same: providers round, and clocks differ.
CLOSE = timedelta(minutes=5)

log = logging.getLogger(__name__)


def subscription_reconcile(*, subscription_id: uuid.UUID, now: datetime) -> ProviderDrift | None:
    """Applies what was missed and returns what still disagrees, if anything. Outside any transaction.

    Raises NotFound, ProviderManaged (the provider can't be asked), ProviderUnavailable (nothing has changed).
    """
    subscription = Subscription.objects.filter(pk=subscription_id).first()
    if subscription is None:
        raise NotFound("There is no such subscription")
    if not can_be_asked(subscription):
        raise ProviderManaged("The provider of this subscription cannot be asked about it")
    assert subscription.provider is not None and subscription.provider_sub_id is not None
    provider = registry.get(subscription.provider)
    since = (subscription.provider_seen_at or subscription.start_date) - OVERLAP
    try:
        events_apply(provider.fetch_events(subscription.provider_sub_id, since=since), now=now)
        theirs = provider.get_subscription(subscription.provider_sub_id)
    except UnknownReference:
        theirs = SubState(subscription.provider_sub_id, SubStatus.EXPIRED)
    except ProviderError as error:
        raise ProviderUnavailable("The provider could not be asked") from error
    return _compare(subscription_id, provider.name, theirs, now)


@dataclass(frozen=True, slots=True)
class Asked:
    """How many were asked about, how many of them still disagree, and about how many nobody answered."""

    asked: int
    disagree: int
    failed: int


def provider_reconcile(*, provider: str, now: datetime) -> Asked:
    """Everything that the provider keeps and that is live here, at once: after an outage, or a restore.

    The daily check goes on from there. Raises NotFound for a provider that is not configured, ProviderManaged for one that
    can't be asked.
    """
    if provider not in registry.names():
        raise NotFound(f"{provider!r} is not a configured payment provider")
    if not registry.get(provider).capabilities.fetch_state:
        raise ProviderManaged(f"{provider!r} cannot be asked about its subscriptions")
    rows = Subscription.objects.filter(
        provider=provider, provider_sub_id__isnull=False, status__in=[*LIVE, Status.PENDING]
    )
    asked = disagree = failed = 0
    for key in rows.order_by("pk").values_list("pk", flat=True).iterator():
        asked += 1
        try:
            disagree += subscription_reconcile(subscription_id=key, now=now) is not None
        except ProviderManaged:
            asked -= 1  # a trial of ours, or it moved to another provider by now
        except Exception as error:
            failed += 1
            if not isinstance(error, ProviderUnavailable):
                log.exception("subscription %s cannot be reconciled", key)
    return Asked(asked, disagree, failed)


def events_apply(events: Iterable[ProviderEvent], *, now: datetime) -> int:
    """Applies what a provider's records tell, and returns how much of it. What nobody can place yet is left to its webhook."""
    applied = 0
    for event in events:
        try:
            provider_event_apply(event=event, now=now)
        except NotKnownYet as unknown:
            log.info("%s of %s is left alone: %s", event.type, event.provider, unknown)
        else:
            applied += 1
    return applied


def purchase_look_up(*, subscription_id: uuid.UUID, now: datetime) -> None:
    """Applies what was bought at its checkouts, where no delivery has told of it. Outside any transaction.

    Raises ProviderUnavailable.
    """
    ours = Checkout.objects.filter(subscription=subscription_id, purpose=Checkout.Purpose.SUBSCRIBE)
    for checkout in ours.order_by("created_at"):
        provider = registry.get(checkout.provider)
        if not provider.capabilities.find_purchase:
            continue
        try:
            events_apply(provider.find_purchase(checkout.order_ref, since=checkout.created_at), now=now)
        except ProviderError as error:
            raise ProviderUnavailable("The provider could not be asked") from error


def subscriptions_reconcile_sweep(*, now: datetime, wall: datetime) -> int:
    """A batch of those that were not looked at for a day. Returns how many it took."""
    asked = [name for name in registry.names() if registry.get(name).capabilities.fetch_state]
    searched = [name for name in registry.names() if registry.get(name).capabilities.find_purchase]
    kept = Subscription.objects.filter(
        Q(provider__in=asked, status__in=[*LIVE, Status.PENDING], provider_sub_id__isnull=False)
        | Q(provider__in=searched, status=Status.PENDING, provider_sub_id=None)
    )
    unchecked = kept.filter(
        Q(provider_checked_at=None)
        | Q(provider_checked_at__lte=wall - CHECK_EVERY)
        | Q(status=Status.PENDING, provider_checked_at__lte=wall - CHECK_UNPAID_EVERY)
    )
    with transaction.atomic():
        order = F("provider_checked_at").asc(nulls_first=True)
        claimed = claim_rows(unchecked.order_by(order), limit=settings.SWEEP_BATCH)
        Subscription.objects.filter(pk__in=[row.pk for row in claimed]).update(provider_checked_at=wall)
    for row in claimed:
        try:
            if row.provider_sub_id:
                subscription_reconcile(subscription_id=row.pk, now=now)
            else:
                purchase_look_up(subscription_id=row.pk, now=now)
        except Exception as error:
            # One that can't be handled holds up no other; all of them are looked at again soon.
            if not isinstance(error, ProviderManaged | ProviderUnavailable):
                log.exception("subscription %s cannot be reconciled", row.pk)
            again = wall - CHECK_EVERY + TRY_AGAIN
            Subscription.objects.filter(pk=row.pk, provider_checked_at=wall).update(provider_checked_at=again)
    return len(claimed)


def feeds_sweep(*, now: datetime, wall: datetime) -> int:
    """Reads each provider's own list of news since the last time: also what belongs to no subscription that we know.

    Returns 0: one round reads all there is.
    """
    read = 0
    for name in registry.names():
        provider = registry.get(name)
        if not provider.capabilities.feed:
            continue
        feed, _ = ProviderFeed.objects.get_or_create(
            provider=name, defaults={"read_until": wall - FIRST_READ, "created_at": now}
        )
        if feed.read_until > wall - READ_AGAIN:
            continue
        try:
            applied, failed = _feed_apply(provider.missed_events(since=feed.read_until - FEED_OVERLAP, until=wall), now)
        except ProviderError as error:
            log.warning("the list of %s could not be read: %s", name, type(error).__name__)
            continue
        read += applied
        if not failed:
            ProviderFeed.objects.filter(pk=feed.pk, read_until__lt=wall).update(read_until=wall)
    log.info("%s facts out of the lists of providers", read)
    return 0


def _feed_apply(events: Iterable[ProviderEvent], now: datetime) -> tuple[int, int]:
    """How many were applied, and how many could not be: these hold up no other, but the list is read again from where it was."""
    applied = failed = 0
    for event in events:
        try:
            applied += events_apply([event], now=now)
        except Exception:
            log.exception("%s of the list of %s cannot be applied", event.type, event.provider)
            failed += 1
    return applied, failed


def can_be_asked(subscription: Subscription) -> bool:
    """Does a provider keep it that answers questions about it?"""
    if subscription.provider not in registry.names() or not subscription.provider_sub_id:
        return False
    return registry.get(subscription.provider).capabilities.fetch_state and renews_by_itself(subscription)


def _compare(subscription_id: uuid.UUID, provider: str, theirs: SubState, now: datetime) -> ProviderDrift | None:
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        if subscription.provider != provider:
            return None  # it moved to another one while this one was asked
        drift = ProviderDrift.objects.filter(subscription=subscription, resolved_at=None).first()
        ours, other = _differences(subscription, theirs)
        if not ours:
            if drift is not None:
                drift_resolve(drift, DriftResolution.AGREES, actor="", at=now)
            return None
        if drift is None:
            drift = ProviderDrift(subscription=subscription, provider=subscription.provider or "", created_at=now)
        drift.ours, drift.theirs, drift.seen_at = ours, other, now
        drift.save()
        return drift


def _differences(subscription: Subscription, theirs: SubState) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, on both sides; a command that is under way explains a difference in renewal."""
    ours: dict[str, Any] = {}
    other: dict[str, Any] = {}
    renewing = subscription.auto_renew and subscription.cancelled_at is None
    under_way = commands_under_way(subscription).exists()
    if subscription.status not in _OURS.get(theirs.status, set()):
        ours["status"], other["status"] = subscription.status, theirs.status.value
    if theirs.auto_renew is not None and subscription.is_live and theirs.auto_renew != renewing and not under_way:
        ours["auto_renew"], other["auto_renew"] = renewing, theirs.auto_renew
    end = subscription.end_date
    running = theirs.status in (SubStatus.ACTIVE, SubStatus.CANCELED, SubStatus.TRIAL)
    if running and theirs.period_end and end and abs(theirs.period_end - end) > CLOSE:
        ours["period_end"], other["period_end"] = end.isoformat(), theirs.period_end.isoformat()
    if ours:
        other.setdefault("status", theirs.status.value)
        ours.setdefault("status", subscription.status)
    return ours, other
