"""Telling a provider what it must do with a subscription of its own.

A command is committed with the local intent and sent after the commit; a lost answer sends it again. A provider's
subscription has one wish at a time: a later one withdraws the earlier, and waits until nobody can be sending that any more.
What the provider that was left must still hear is no concern of the one that took over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from payflow.core import clock, outbox
from payflow.core.locks import claim_rows
from payflow.core.nudges import nudge
from providers import registry
from providers.base import (
    ChangeRequest,
    NotSupported,
    Provider,
    ProviderError,
    RequestRefused,
    SubState,
    SubStatus,
    UnknownReference,
)
from subscriptions.locks import subscription_lock
from subscriptions.models import CommandKind, ProviderCommand, Status, Subscription
from subscriptions.services.changes import change_cancel, open_change
from subscriptions.standing import commands_under_way, is_outdated, stands
from subscriptions.state import SYSTEM, subscription_update

Kind = ProviderCommand.Kind
#: While one worker asks, the others leave the command alone for this long: longer than any client waits.
LEASE = timedelta(minutes=2)
#: Pauses after the first, second, … failure; the last one repeats for as long as it takes.
RETRY_AFTER = [timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 7200)]
#: So long before its deadline an unanswered command alarms an operator.
ALARM = timedelta(days=1)
#: Google refunds what is not acknowledged within three days (providers.md 4.1).
ACKNOWLEDGE_WITHIN = timedelta(days=3)
SWEEP = "provider_commands"

log = logging.getLogger(__name__)


def command_give(
    subscription: Subscription,
    kind: CommandKind,
    *,
    actor: str,
    at: datetime,
    arguments: Mapping[str, Any] | None = None,
) -> ProviderCommand:
    """Commits a wish with the caller's transaction, under the subscription's lock. What was wished before is withdrawn.

    `arguments` are those of a change, as text: plan_ref, provider_plan_ref, amount, currency, every, cycle, now.
    """
    assert subscription.provider is not None and subscription.provider_sub_id is not None
    wall = clock.wall()
    waits_for = wall
    for earlier in commands_under_way(subscription).exclude(kind=Kind.ACKNOWLEDGE):
        if earlier.kind == kind and earlier.arguments == (arguments or {}):
            return earlier
        if earlier.attempts and earlier.next_attempt_at is not None:
            waits_for = max(waits_for, earlier.next_attempt_at)  # somebody may be sending it at this moment
        earlier.status, earlier.next_attempt_at = ProviderCommand.Status.WITHDRAWN, None
        earlier.save()
    command = ProviderCommand.objects.create(
        subscription=subscription,
        provider=subscription.provider,
        provider_sub_id=subscription.provider_sub_id,
        kind=kind,
        arguments=dict(arguments or {}),
        actor=actor,
        next_attempt_at=waits_for,
        deadline=subscription.end_date if kind in (Kind.CANCEL, Kind.PAUSE) else at,
        created_at=at,
    )
    nudge("payflow.core.tasks.run_sweep", SWEEP)
    return command


def command_acknowledge(subscription: Subscription, *, at: datetime) -> None:
    """The store wants to hear that its purchase was delivered: once for each purchase."""
    assert subscription.provider is not None and subscription.provider_sub_id is not None
    _, created = ProviderCommand.objects.get_or_create(
        provider=subscription.provider,
        provider_sub_id=subscription.provider_sub_id,
        kind=Kind.ACKNOWLEDGE,
        defaults={
            "subscription": subscription,
            "actor": SYSTEM,
            "next_attempt_at": clock.wall(),
            "deadline": at + ACKNOWLEDGE_WITHIN,
            "created_at": at,
        },
    )
    if created:
        nudge("payflow.core.tasks.run_sweep", SWEEP)


def commands_sweep(*, now: datetime, wall: datetime) -> int:
    """Sends what is due; alarms for what its deadline comes near. Returns how many it took."""
    with transaction.atomic():
        waiting = ProviderCommand.objects.filter(status=ProviderCommand.Status.PENDING, next_attempt_at__lte=wall)
        claimed = claim_rows(waiting.order_by("next_attempt_at"), limit=settings.SWEEP_BATCH)
        ProviderCommand.objects.filter(pk__in=[command.pk for command in claimed]).update(
            next_attempt_at=wall + LEASE, attempts=F("attempts") + 1
        )
    for command in claimed:
        if clock.wall() >= wall + LEASE:
            break  # by now the rest may be another worker's
        command.attempts += 1
        try:
            _send(command, now=now)
        except Exception as error:
            # Ours or the adapter's fault: it is tried again, alarms as silence does, and holds up no other.
            log.exception("command %s cannot be sent", command.pk)
            _unanswered(command, type(error).__name__, now)
    return len(claimed)


def _send(command: ProviderCommand, *, now: datetime) -> None:
    try:
        state = _ask(registry.get(command.provider), command)
    except (RequestRefused, NotSupported) as error:
        _refused(command, type(error).__name__, now)
        return
    except UnknownReference:
        if command.kind not in (Kind.CANCEL, Kind.CANCEL_NOW):
            _refused(command, "the provider does not know the subscription", now)
            return
        state = None  # what is gone renews no more
    except (ProviderError, registry.UnknownProvider) as error:
        log.warning("command %s has no answer: %s", command.pk, type(error).__name__)
        _unanswered(command, type(error).__name__, now)
        return
    _confirmed(command, state, now)


def _ask(provider: Provider, command: ProviderCommand) -> SubState | None:
    ref, key = command.provider_sub_id, f"command_{command.pk}"
    match command.kind:
        case Kind.CANCEL | Kind.CANCEL_NOW:
            return provider.cancel_subscription(
                ref,
                at_period_end=command.kind == Kind.CANCEL,
                email=command.subscription.user.email,
                idempotency_key=key,
            )
        case Kind.RESUME:
            return provider.resume_subscription(ref, idempotency_key=key)
        case Kind.PAUSE:
            return provider.pause_subscription(ref, idempotency_key=key)
        case Kind.CHANGE:
            return provider.change_subscription(_change_request(command, ref, key))
        case Kind.ACKNOWLEDGE:
            provider.acknowledge_purchase(ref, idempotency_key=key)
            return None
    raise AssertionError(f"{command.kind} is no command")


def _change_request(command: ProviderCommand, ref: str, key: str) -> ChangeRequest:
    wish = command.arguments
    return ChangeRequest(
        provider_sub_id=ref,
        plan_ref=wish["plan_ref"],
        provider_plan_ref=wish["provider_plan_ref"],
        amount=Decimal(wish["amount"]),
        currency=wish["currency"],
        interval=(wish["every"], wish["cycle"]),
        now=wish["now"],
        idempotency_key=key,
    )


def _confirmed(command: ProviderCommand, state: SubState | None, now: datetime) -> None:
    with transaction.atomic():
        subscription = subscription_lock(command.subscription_id)
        written = ProviderCommand.objects.filter(pk=command.pk, status=ProviderCommand.Status.PENDING).update(
            status=ProviderCommand.Status.CONFIRMED, confirmed_at=now, next_attempt_at=None, error=""
        )
        if written and state is not None:
            _stands_as_told(subscription, command, state, now)


def _stands_as_told(subscription: Subscription, command: ProviderCommand, state: SubState, now: datetime) -> None:
    """The provider says that it stands still, or runs again; the event in which it tells so too changes nothing more."""
    moment = state.as_of or now
    paused = command.kind == Kind.PAUSE and state.status == SubStatus.PAUSED and subscription.status == Status.ACTIVE
    if paused and not is_outdated(subscription, moment, Status.PAUSED):
        stands(subscription, Status.PAUSED, occurred_at=moment, reason="paused", at=now, paused_at=now)
    runs = command.kind == Kind.RESUME and state.status == SubStatus.ACTIVE and subscription.status == Status.PAUSED
    if runs and subscription.end_date is not None and subscription.end_date > now:
        stands(subscription, Status.ACTIVE, occurred_at=moment, reason="resumed", at=now, paused_at=None)


def _refused(command: ProviderCommand, why: str, now: datetime) -> None:
    with transaction.atomic():
        subscription = subscription_lock(command.subscription_id)
        ProviderCommand.objects.filter(pk=command.pk, status=ProviderCommand.Status.PENDING).update(
            status=ProviderCommand.Status.REFUSED, next_attempt_at=None, error=why[:200]
        )
        if command.kind == Kind.CHANGE and (planned := open_change(subscription)) is not None:
            change_cancel(planned, at=now)
        subscription_update(subscription, review_reason=f"the provider refuses: {command.get_kind_display()}")


def _unanswered(command: ProviderCommand, why: str, now: datetime) -> None:
    pause = RETRY_AFTER[min(command.attempts, len(RETRY_AFTER)) - 1]
    with transaction.atomic():
        subscription = subscription_lock(command.subscription_id)
        pending = ProviderCommand.objects.filter(pk=command.pk, status=ProviderCommand.Status.PENDING)
        pending.update(next_attempt_at=clock.wall() + pause, error=why[:200])
        late = command.deadline is not None and now >= command.deadline - ALARM
        if late and pending.filter(alarmed_at=None).update(alarmed_at=now):
            _alarm(command, subscription, now)


def _alarm(command: ProviderCommand, subscription: Subscription, now: datetime) -> None:
    subscription_update(subscription, review_reason=f"the provider does not answer: {command.get_kind_display()}")
    outbox.emit(
        type="provider_command.late",
        subject_type="subscription",
        subject_id=subscription.pk,
        payload={"kind": command.kind, "provider": command.provider, "attempts": command.attempts},
        at=now,
    )
