"""What happens to a subscription by itself, each step at its own moment of business time, however late it is looked at.

A renewal is charged when its period ends. Declined, it is tried again in grace (access lasts), then on hold (it doesn't),
then it expires. Paid in grace, the period follows the last one; paid on hold, a new anchor begins.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.db import transaction
from django.db.models import Min

from payflow.core.locks import claim_rows, lock_rows
from providers.sandbox.cycles import cycle_end
from providers.sandbox.events import payment_event, state_event
from providers.sandbox.models import (
    Behaviour,
    Cycle,
    PaymentKind,
    PaymentStatus,
    SandboxPayment,
    SandboxProduct,
    SandboxSubscription,
    SubscriptionStatus,
)
from providers.sandbox.reversals import payment_give_back
from providers.sandbox.services import OUTCOMES

GRACE = timedelta(days=7)
#: Days after the due date on which a declined renewal is tried again while grace lasts.
GRACE_RETRIES = (1, 3, 5)
HOLD = timedelta(days=30)
HOLD_RETRY_EVERY = timedelta(days=5)
ACKNOWLEDGE_WITHIN = timedelta(days=3)
#: One run stays below Celery's limit of 300 s.
BATCH = 200
#: More steps than anything short of a fault of ours takes: ten years of days.
MAX_STEPS = 4000

Status = SubscriptionStatus
log = logging.getLogger(__name__)


class Step(StrEnum):
    CHARGE = "charge"
    HOLD = "hold"
    EXPIRE = "expire"
    TAKE_BACK = "take_back"


class NextStep(NamedTuple):
    kind: Step
    at: datetime


def next_step(subscription: SandboxSubscription) -> NextStep | None:
    """What happens next if nobody does anything. Pure."""
    if subscription.has_ended:
        return None
    step = _of_status(subscription)
    by = subscription.acknowledge_by
    if by is not None and (step is None or by <= step.at):
        return NextStep(Step.TAKE_BACK, by)
    return step


def _of_status(subscription: SandboxSubscription) -> NextStep | None:
    end, declines = subscription.period_end, subscription.declines
    match subscription.status:
        case Status.TRIAL | Status.ACTIVE:
            return NextStep(Step.CHARGE if subscription.auto_renew else Step.EXPIRE, end)
        case Status.PAST_DUE:
            until = subscription.grace_until
            assert until is not None, "past due has a grace"
            if declines <= len(GRACE_RETRIES) and end + timedelta(days=GRACE_RETRIES[declines - 1]) < until:
                return NextStep(Step.CHARGE, end + timedelta(days=GRACE_RETRIES[declines - 1]))
            return NextStep(Step.HOLD, until)
        case Status.ON_HOLD:
            assert subscription.held_at is not None, "on hold since a moment"
            retry = subscription.held_at + HOLD_RETRY_EVERY * (declines + 1)
            last = subscription.held_at + HOLD
            return NextStep(Step.CHARGE, retry) if retry < last else NextStep(Step.EXPIRE, last)
        case _:
            return None


def subscriptions_due_run(*, now: datetime, wall: datetime, limit: int = BATCH) -> int:
    """Lets what is due at `now` (business time) happen, earliest first; returns to how many subscriptions."""
    bad: list[uuid.UUID] = []
    for taken in range(limit):
        due = SandboxSubscription.objects.filter(due_at__lte=now).exclude(pk__in=bad).order_by("due_at", "pk")
        with transaction.atomic():
            claimed = claim_rows(due, limit=1)
            if not claimed:
                return taken
            try:
                with transaction.atomic():
                    live(claimed[0], now=now, wall=wall)
            except Exception:
                log.exception("%s cannot be renewed", claimed[0].ref)
                bad.append(claimed[0].pk)
    return limit


def next_due(after: datetime) -> datetime | None:
    """The earliest moment later than `after` at which something happens by itself."""
    found: datetime | None = SandboxSubscription.objects.filter(due_at__gt=after).aggregate(at=Min("due_at"))["at"]
    return found


def live(subscription: SandboxSubscription, *, now: datetime, wall: datetime) -> None:
    """Everything that was due up to `now` has happened. The caller holds the row's lock."""
    for _ in range(MAX_STEPS):
        step = next_step(subscription)
        if step is None or step.at > now:
            break
        match step.kind:
            case Step.CHARGE:
                _renew(subscription, at=step.at, wall=wall)
            case Step.HOLD:
                subscription.held_at, subscription.declines, subscription.grace_until = step.at, 0, None
                become(subscription, Status.ON_HOLD, "subscription.on_hold", at=step.at, wall=wall)
            case Step.EXPIRE:
                expire(subscription, at=step.at, wall=wall)
            case Step.TAKE_BACK:
                take_back(subscription, reason="not acknowledged", at=step.at, wall=wall)
    save(subscription)


def become(subscription: SandboxSubscription, to: Status, tell: str, *, at: datetime, wall: datetime) -> None:
    """Stands as `to` from `at` on, and tells. The caller saves it."""
    subscription.status, subscription.changed_at = to, at
    state_event(subscription, tell, at=at, wall=wall)


def save(subscription: SandboxSubscription) -> None:
    step = next_step(subscription)
    subscription.due_at = step.at if step else None
    subscription.save()


def charge(
    subscription: SandboxSubscription, product: SandboxProduct, *, start: datetime, at: datetime, wall: datetime
) -> SandboxPayment:
    """Charges the stored card for a cycle of `product` from `start` on, and tells. A decline changes no period.

    A period that doesn't follow the last one, or is another product's, begins a new anchor.
    """
    status, code, recoverable = OUTCOMES[Behaviour(subscription.method.behaviour)]
    if status == PaymentStatus.REQUIRES_ACTION:  # nobody sits before a renewal
        status, code = PaymentStatus.DECLINED, "authentication_required"
    follows = start == subscription.period_end and product.pk == subscription.product_id and subscription.cycles > 0
    anchor, cycles = (subscription.anchor, subscription.cycles + 1) if follows else (start, 1)
    end = cycle_end(anchor, Cycle(product.cycle), cycles * product.every)
    subscription.charges += 1
    payment = SandboxPayment.objects.create(
        account=subscription.account,
        kind=PaymentKind.CHARGE,
        status=status,
        idempotency_key=f"{subscription.ref}:{subscription.charges}",
        method=subscription.method,
        subscription=subscription,
        period_start=start,
        period_end=end,
        amount=product.price,
        currency=product.currency,
        decline_code=code,
        recoverable=recoverable,
        hook_url=subscription.hook_url,
    )
    if status == PaymentStatus.SUCCEEDED:
        subscription.product, subscription.next_product = product, None
        subscription.anchor, subscription.cycles = anchor, cycles
        subscription.period_start, subscription.period_end = start, end
        subscription.grace_until, subscription.held_at, subscription.declines = None, None, 0
        subscription.status, subscription.changed_at = Status.ACTIVE, at
    payment_event(payment, wall=wall, at=at)
    return payment


def expire(subscription: SandboxSubscription, *, at: datetime, wall: datetime) -> None:
    """It has ended. What was left of its period is over."""
    _end(subscription, at)
    become(subscription, Status.EXPIRED, "subscription.expired", at=at, wall=wall)


def revoke(subscription: SandboxSubscription, *, at: datetime, wall: datetime) -> None:
    """It has ended because its money went back."""
    _end(subscription, at)
    become(subscription, Status.REVOKED, "subscription.revoked", at=at, wall=wall)


def take_back(subscription: SandboxSubscription, *, reason: str, at: datetime, wall: datetime) -> None:
    """Everything that was paid goes back, and it is revoked."""
    paid = SandboxPayment.objects.filter(subscription=subscription, status=PaymentStatus.SUCCEEDED)
    for payment in lock_rows(paid):
        payment_give_back(payment, reason=reason, at=at, wall=wall)
    revoke(subscription, at=at, wall=wall)


def _renew(subscription: SandboxSubscription, *, at: datetime, wall: datetime) -> None:
    held = subscription.status == Status.ON_HOLD
    product = subscription.next_product or subscription.product
    changes = product.pk != subscription.product_id
    start = at if held else subscription.period_end
    payment = charge(subscription, product, start=start, at=at, wall=wall)
    if payment.status == PaymentStatus.SUCCEEDED:
        tell = "subscription.plan_changed" if changes else "subscription.renewed"
        state_event(subscription, tell, at=at, wall=wall)
        return
    subscription.declines += 1
    if subscription.status in (Status.TRIAL, Status.ACTIVE):
        length = payment.period_end - start if payment.period_end else GRACE
        subscription.grace_until = start + min(GRACE, length)
        become(subscription, Status.PAST_DUE, "subscription.grace", at=at, wall=wall)


def _end(subscription: SandboxSubscription, at: datetime) -> None:
    subscription.period_end = max(min(subscription.period_end, at), subscription.period_start)
    subscription.auto_renew, subscription.acknowledge_by, subscription.next_product = False, None, None
    subscription.grace_until, subscription.held_at = None, None
