"""The few fields that a subscriber may change himself."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from django.db import transaction

from payflow.core import audit
from payflow.core.errors import DomainError, InvalidTransition, ValidationFailed
from payments.models import PaymentMethod
from subscriptions.locks import subscription_lock
from subscriptions.models import CommandKind, Status, Subscription
from subscriptions.services.cancel import RUNNING
from subscriptions.services.move_closing import move_offer_close
from subscriptions.services.provider_managed import provider_told, refuse_unless_told
from subscriptions.services.retry import payment_retry
from subscriptions.state import subscription_update

log = logging.getLogger(__name__)


def preferences_update(
    *, subscription_id: uuid.UUID, changes: dict[str, Any], actor: str, now: datetime
) -> Subscription:
    """Changes `auto_renew`, `payment_method_id`, `timezone`. Turning `auto_renew` on takes a cancellation back.

    A new method pays what is due at once, without using up a scheduled retry. Raises ValidationFailed (unknown zone,
    somebody else's method), InvalidTransition for what has ended, ProviderManaged.
    """
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        if not subscription.is_live:
            raise InvalidTransition(f"The subscription is {subscription.status}")
        fields: dict[str, Any] = {}
        if (auto_renew := changes.get("auto_renew")) is not None:
            if auto_renew != subscription.auto_renew or (auto_renew and subscription.cancelled_at is not None):
                refuse_unless_told(subscription)
            fields["auto_renew"] = auto_renew
            if auto_renew and subscription.cancelled_at is not None:
                ended = subscription.end_date is not None and subscription.end_date <= now
                if subscription.status not in RUNNING or ended:
                    raise InvalidTransition("The paid time has ended")
                fields["cancelled_at"] = None
        if "payment_method_id" in changes:
            fields["payment_method_id"] = _own_method(subscription, changes["payment_method_id"])
        if (timezone := changes.get("timezone")) is not None:
            if timezone not in available_timezones():
                raise ValidationFailed.field("timezone", "An IANA time zone, such as Europe/Berlin")
            fields["timezone"] = timezone
        renewed_before = subscription.auto_renew and subscription.cancelled_at is None
        subscription_update(subscription, **fields)
        if subscription.auto_renew != renewed_before:
            if not subscription.auto_renew:
                move_offer_close(subscription, reason="it does not renew", at=now)
            wish = CommandKind.RESUME if subscription.auto_renew else CommandKind.CANCEL
            provider_told(subscription, wish, actor=actor, at=now)
        _audit("subscription.update", subscription, actor, {name: str(value) for name, value in fields.items()})
    if fields.get("payment_method_id") is not None and subscription.status in (Status.PAST_DUE, Status.SUSPENDED):
        _pay_what_is_due(subscription, actor=actor, now=now)
    return subscription


def _pay_what_is_due(subscription: Subscription, *, actor: str, now: datetime) -> None:
    """The method is kept whatever becomes of the payment: a decline is recorded as one, no answer is asked about."""
    try:
        payment_retry(subscription_id=subscription.pk, actor=actor, now=now)
    except DomainError as error:
        log.info("subscription %s: the new method did not pay (%s)", subscription.pk, error.code)


def _own_method(subscription: Subscription, method_id: uuid.UUID | None) -> uuid.UUID | None:
    if method_id is None:
        return None
    if not PaymentMethod.objects.filter(pk=method_id, user_id=subscription.user_id, is_active=True).exists():
        raise ValidationFailed.field("payment_method_id", "There is no such payment method")
    return method_id


def _audit(action: str, subscription: Subscription, actor: str, data: dict[str, Any]) -> None:
    audit.record(actor=actor, action=action, subject_type="subscription", subject_id=subscription.pk, data=data)
