"""Cancelling, at the end of the paid time or now, and undoing it until the end."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import transaction

from payflow.core import audit, outbox
from payflow.core.errors import InvalidTransition, ValidationFailed
from payments.selectors import has_open_dispute
from payments.services.refunds import refund_send
from subscriptions.locks import subscription_lock
from subscriptions.models import CommandKind, Status, Subscription
from subscriptions.services.changes import change_take_back, open_change
from subscriptions.services.ending import end_now
from subscriptions.services.move_closing import move_offer_close
from subscriptions.services.provider_managed import provider_told, refuse_unless_told
from subscriptions.services.unused_refunds import shut_out_end, unused_time_refund
from subscriptions.state import subscription_update

#: What a subscriber has paid for, and keeps to the end when he cancels.
RUNNING = frozenset({Status.TRIAL, Status.ACTIVE})


def subscription_cancel(
    *, subscription_id: uuid.UUID, at_once: bool, actor: str, now: datetime, refund: bool = False
) -> Subscription:
    """Cancels. In trial or active the paid time is kept, unless `at_once`; in any other live state it ends now.

    `refund` gives the unused part of the paid time back: through the provider what was paid, as credit what was credit.
    Cancelling twice changes nothing. Raises InvalidTransition (it has ended, or a refund of what is disputed),
    ProviderManaged, ValidationFailed (a refund of what is kept), RefundNotSupported (nothing is cancelled then).
    """
    if refund and not at_once:
        raise ValidationFailed.field("refund", "Only what ends now is refunded (when=now)")
    refunds: list[uuid.UUID] = []
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        if subscription.status in (Status.CANCELLED, Status.EXPIRED):
            raise InvalidTransition(f"The subscription is already {subscription.status}")
        refuse_unless_told(subscription)
        keeps_time = subscription.status in RUNNING and subscription.end_date is not None and not at_once
        if keeps_time:
            if subscription.cancelled_at is None:
                if (planned := open_change(subscription)) is not None:
                    change_take_back(planned, at=now)
                move_offer_close(subscription, reason="it was cancelled", at=now)
                subscription_update(subscription, cancelled_at=now)
                provider_told(subscription, CommandKind.CANCEL, actor=actor, at=now)
                _tell("subscription.cancel_scheduled", subscription, now)
        else:
            if refund:
                if has_open_dispute(subscription.pk):
                    raise InvalidTransition("A payment is disputed: nothing is refunded until that has ended")
                refunds = unused_time_refund(subscription, actor=actor, now=now)
            shut_out_end(subscription, at=now)
            end_now(subscription, reason="cancelled", actor=actor, at=now)
        _audit("subscription.cancel", subscription, actor, {"at_once": not keeps_time, "refund": refund})
    for refund_id in refunds:
        # Without an answer it is pending, and sent again by its sweep.
        refund_send(refund_id=refund_id, at=now)
    return subscription


def subscription_uncancel(*, subscription_id: uuid.UUID, actor: str, now: datetime) -> Subscription:
    """Takes a cancellation back while the paid time lasts.

    Raises InvalidTransition where there is none, or too late; ProviderManaged.
    """
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        ended = subscription.end_date is not None and subscription.end_date <= now
        if subscription.status not in RUNNING or subscription.cancelled_at is None or ended:
            raise InvalidTransition("There is no cancellation to take back")
        refuse_unless_told(subscription)
        subscription_update(subscription, cancelled_at=None, auto_renew=True)
        provider_told(subscription, CommandKind.RESUME, actor=actor, at=now)
        _tell("subscription.cancel_undone", subscription, now)
        _audit("subscription.uncancel", subscription, actor, {})
    return subscription


def _tell(type_: str, subscription: Subscription, now: datetime) -> None:
    outbox.emit(
        type=type_,
        subject_type="subscription",
        subject_id=subscription.pk,
        payload={"end_date": subscription.end_date.isoformat() if subscription.end_date else None},
        at=now,
    )


def _audit(action: str, subscription: Subscription, actor: str, data: dict[str, Any]) -> None:
    audit.record(actor=actor, action=action, subject_type="subscription", subject_id=subscription.pk, data=data)
