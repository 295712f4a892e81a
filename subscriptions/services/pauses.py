"""Pausing and resuming. A pause gives the unused paid time back as credit; a resume bills to the next anchored boundary."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import transaction

from payflow.core import audit
from payflow.core.errors import InvalidTransition, ValidationFailed
from payflow.core.money import Money
from payments.credits import grant_write
from payments.errors import PaymentInProgress
from payments.models import CreditSource, Invoice
from payments.selectors import has_open_dispute
from subscriptions.billing import Bill, Source, bills_issue, open_invoice, period_record, periods_ahead
from subscriptions.cycle_units import pause_key, unit_of_cycle
from subscriptions.day_of_change import day_paid
from subscriptions.locks import subscription_lock
from subscriptions.models import CommandKind, Status, Subscription
from subscriptions.periods import Period, period_containing
from subscriptions.proration import had_until
from subscriptions.quotes import cycle_line, rest_line
from subscriptions.services.changes import change_take_back, open_change
from subscriptions.services.collecting import Errand, charge_under_way, collect
from subscriptions.services.ending import periods_end
from subscriptions.services.move_closing import move_offer_close
from subscriptions.services.provider_managed import provider_told, refuse_provider_managed
from subscriptions.state import SYSTEM, renews_by_itself, subscription_move
from subscriptions.unused import unused

#: A pause without a date, or a longer one, would keep a subscription that nobody remembers.
LONGEST = timedelta(days=366)


def subscription_pause(
    *, subscription_id: uuid.UUID, resumes_at: datetime | None, actor: str, now: datetime
) -> Subscription:
    """No access and no billing until `resumes_at` (None: until somebody resumes it). Unused paid time becomes credit.

    Raises InvalidTransition (only what is active, renews, isn't free and not disputed can pause), ValidationFailed (a date
    in the past, or more than a year ahead), ProviderManaged.
    """
    if resumes_at is not None and not now < resumes_at <= now + LONGEST:
        raise ValidationFailed.field("resumes_at", "A moment ahead, within a year")
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        _refuse(subscription, now)
        if renews_by_itself(subscription):
            _ask_provider(subscription, CommandKind.PAUSE, resumes_at, actor=actor, now=now)
            return subscription
        move_offer_close(subscription, reason="it is paused", at=now)
        for row in periods_ahead(subscription, now):
            left = unused(row, at=now, tz=subscription.timezone)
            if left.gross:
                grant_write(
                    user_id=subscription.user_id,
                    money=left.gross,
                    source=CreditSource.UNUSED_TIME,
                    reason=f"Pause of {subscription.plan.name}",
                    key=f"{pause_key(subscription)}{row.pk}",
                    at=now,
                    tax=left.tax,
                    explanation=left.explanation,
                )
        if (planned := open_change(subscription)) is not None:
            change_take_back(planned, at=now)
        periods_end(subscription, at=now)
        subscription_move(
            subscription,
            Status.PAUSED,
            reason="paused",
            actor=actor,
            at=now,
            paused_at=now,
            resumes_at=resumes_at,
            end_date=now,
        )
        audit.record(
            actor=actor,
            action="subscription.pause",
            subject_type="subscription",
            subject_id=subscription.pk,
            data={"resumes_at": resumes_at.isoformat() if resumes_at else None},
        )
    return subscription


def _ask_provider(
    subscription: Subscription, kind: CommandKind, resumes_at: datetime | None, *, actor: str, now: datetime
) -> None:
    """A provider that charges by itself pauses and resumes by itself: it stands still when that confirms. No credit then."""
    if resumes_at is not None:
        raise ValidationFailed.field("resumes_at", "This provider pauses until somebody resumes")
    provider_told(subscription, kind, actor=actor, at=now)
    audit.record(
        actor=actor,
        action=f"subscription.{kind}",
        subject_type="subscription",
        subject_id=subscription.pk,
        data={"asked": subscription.provider},
    )


def _refuse(subscription: Subscription, now: datetime) -> None:
    if subscription.status != Status.ACTIVE:
        raise InvalidTransition(f"A subscription that is {subscription.status} cannot be paused")
    if subscription.is_free:
        raise InvalidTransition("There is nothing to pause: it is free")
    refuse_provider_managed(subscription, told_by="pause")
    if has_open_dispute(subscription.pk):
        raise InvalidTransition(
            "A payment is disputed: what the unused time is worth is not known until that has ended"
        )
    if subscription.cancelled_at is not None or not subscription.auto_renew:
        raise InvalidTransition("The subscription ends: take its cancellation back first")
    if subscription.end_date is None or subscription.end_date <= now or open_invoice(subscription) is not None:
        raise InvalidTransition("The renewal is under way; try again when it is done")


def subscription_resume(*, subscription_id: uuid.UUID, actor: str, now: datetime) -> Subscription:
    """Ends a pause: the rest of the anchored period is billed, credit first. Without money it is past due, with its grace.

    Raises InvalidTransition where it isn't paused, or doesn't renew any more.
    """
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        if subscription.status != Status.PAUSED:
            raise InvalidTransition(f"A subscription that is {subscription.status} cannot be resumed")
        if renews_by_itself(subscription):
            refuse_provider_managed(subscription, told_by="resume")
            _ask_provider(subscription, CommandKind.RESUME, None, actor=actor, now=now)
            return subscription
        if subscription.disputed_at is not None:
            raise InvalidTransition("A payment is disputed: nothing is charged until that has ended")
        if not subscription.auto_renew:
            raise InvalidTransition("The subscription ends: turn its renewal on first")
        if charge_under_way(subscription):
            raise PaymentInProgress("The resume is under way")
        errand = resume(subscription, now=now)
        audit.record(
            actor=actor,
            action="subscription.resume",
            subject_type="subscription",
            subject_id=subscription.pk,
            data={},
        )
    if errand is not None:
        errand()
    return Subscription.objects.get(pk=subscription_id)


def resume(subscription: Subscription, *, now: datetime) -> Errand | None:
    """Goes on from now, paid to the next boundary of the anchor; nothing is billed where no time is left. Under the lock."""
    whole = period_containing(
        subscription.anchor,
        subscription.billing_cycle,
        now,
        interval=subscription.billing_interval,
        tz=subscription.timezone,
    )
    invoice = open_invoice(subscription)
    if invoice is not None:
        return collect(subscription, invoice, now=now)  # begun before, and waiting for its payment
    unit, tz = unit_of_cycle(subscription, whole), subscription.timezone
    line, share = rest_line(
        subscription.plan,
        Money(subscription.amount, subscription.currency),
        whole,
        since=had_until(now, unit=unit, tz=tz) if day_paid(subscription, now) else now,  # paused on the same day
        unit=unit,
        tz=tz,
    )
    period = Period(now, whole.end)
    if not line.amount:
        _resume_for_nothing(subscription, period, now)
        return None
    if share == 1:
        line = cycle_line(subscription, period)
    # The paid time ended with the pause; it goes on from here. Nothing of the present period is paid.
    subscription.current_period_start = subscription.end_date = now
    bill = Bill(subscription, Invoice.Reason.CYCLE, [line], period, share)
    [invoice] = bills_issue([bill], source=Source.RESUME, at=now)
    return collect(subscription, invoice, now=now)


def _resume_for_nothing(subscription: Subscription, period: Period, now: datetime) -> None:
    """On the last day, where the cycle is divided by days: it runs to the boundary and is billed from there."""
    period_record(subscription, period, invoice=None, source=Source.RESUME, at=now)
    subscription_move(
        subscription,
        Status.ACTIVE,
        reason="resumed",
        actor=SYSTEM,
        at=now,
        current_period_start=period.start,
        end_date=period.end,
        paused_at=None,
        resumes_at=None,
    )
