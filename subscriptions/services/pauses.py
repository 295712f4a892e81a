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
from subscriptions.billing import Bill, Source, bills_issue, open_invoice
from subscriptions.billing import current_period as running_period
from subscriptions.locks import subscription_lock
from subscriptions.models import Status, Subscription
from subscriptions.periods import Period, period_containing
from subscriptions.quotes import cycle_line, rest_line
from subscriptions.services.changes import change_take_back, open_change
from subscriptions.services.collecting import charge_under_way, collect
from subscriptions.services.ending import periods_end
from subscriptions.services.provider_managed import refuse_provider_managed
from subscriptions.state import subscription_move
from subscriptions.unused import proration_unit, unused

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
        row = running_period(subscription, now)
        if row is not None:
            left = unused(row, at=now, unit=proration_unit(subscription.plan), tz=subscription.timezone)
            if left.gross:
                grant_write(
                    user_id=subscription.user_id,
                    money=left.gross,
                    source=CreditSource.UNUSED_TIME,
                    reason=f"Pause of {subscription.plan.name}",
                    key=f"pause:{subscription.pk}:{row.pk}",
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
        if subscription.disputed_at is not None:
            raise InvalidTransition("A payment is disputed: nothing is charged until that has ended")
        if not subscription.auto_renew:
            raise InvalidTransition("The subscription ends: turn its renewal on first")
        if charge_under_way(subscription):
            raise PaymentInProgress("The resume is under way")
        errand = collect(subscription, resume_invoice(subscription, at=now), now=now)
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


def resume_invoice(subscription: Subscription, *, at: datetime) -> Invoice:
    """The open invoice from now to the next boundary of the subscription's anchor. The caller holds the lock.

    The same invoice where the resume was begun before and waits for its payment.
    """
    waiting = open_invoice(subscription)
    if waiting is not None:
        return waiting
    whole = period_containing(
        subscription.anchor,
        subscription.billing_cycle,
        at,
        interval=subscription.billing_interval,
        tz=subscription.timezone,
    )
    period = Period(at, whole.end)
    line, share = rest_line(
        subscription.plan,
        Money(subscription.amount, subscription.currency),
        whole,
        since=at,
        unit=proration_unit(subscription.plan),
        tz=subscription.timezone,
    )
    if share == 1:
        line = cycle_line(subscription, period)
    # The paid time ended with the pause; it goes on from here. Nothing of the present period is paid.
    subscription.current_period_start = subscription.end_date = at
    [invoice] = bills_issue(
        [Bill(subscription, Invoice.Reason.CYCLE, [line], period, share)], source=Source.RESUME, at=at
    )
    return invoice
