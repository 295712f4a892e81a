"""Cancelling, undoing it until the end, and the few fields that a subscriber may change."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from django.db import transaction

from payflow.core import audit
from payflow.core.errors import InvalidTransition, ValidationFailed
from payments.models import PaymentMethod
from providers import registry
from subscriptions.errors import ProviderManaged
from subscriptions.locks import subscription_lock
from subscriptions.models import Status, Subscription
from subscriptions.services.ending import end_now
from subscriptions.state import renews_by_itself, subscription_update

#: What a subscriber has paid for, and keeps to the end when he cancels.
RUNNING = frozenset({Status.TRIAL, Status.ACTIVE})


def subscription_cancel(*, subscription_id: uuid.UUID, at_once: bool, actor: str, now: datetime) -> Subscription:
    """Cancels. In trial or active the paid time is kept, unless `at_once`; in any other live state it ends now.

    Cancelling twice changes nothing. Raises InvalidTransition for what has ended, ProviderManaged.
    """
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        if subscription.status in (Status.CANCELLED, Status.EXPIRED):
            raise InvalidTransition(f"The subscription is already {subscription.status}")
        _refuse_provider_managed(subscription)
        keeps_time = subscription.status in RUNNING and subscription.end_date is not None and not at_once
        if keeps_time:
            if subscription.cancelled_at is None:
                subscription_update(subscription, cancelled_at=now)
        else:
            end_now(subscription, reason="cancelled", actor=actor, at=now)
        _audit("subscription.cancel", subscription, actor, {"at_once": not keeps_time})
    return subscription


def subscription_uncancel(*, subscription_id: uuid.UUID, actor: str, now: datetime) -> Subscription:
    """Takes a cancellation back while the paid time lasts. Raises InvalidTransition where there is none, or too late."""
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        ended = subscription.end_date is not None and subscription.end_date <= now
        if subscription.status not in RUNNING or subscription.cancelled_at is None or ended:
            raise InvalidTransition("There is no cancellation to take back")
        subscription_update(subscription, cancelled_at=None, auto_renew=True)
        _audit("subscription.uncancel", subscription, actor, {})
    return subscription


def subscription_change(
    *, subscription_id: uuid.UUID, changes: dict[str, Any], actor: str, now: datetime
) -> Subscription:
    """Changes `auto_renew`, `payment_method_id`, `timezone`. Turning `auto_renew` on takes a cancellation back.

    Raises ValidationFailed (unknown zone, somebody else's method), InvalidTransition for what has ended.
    """
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        if not subscription.is_live:
            raise InvalidTransition(f"The subscription is {subscription.status}")
        fields: dict[str, Any] = {}
        if (auto_renew := changes.get("auto_renew")) is not None:
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
        subscription_update(subscription, **fields)
        _audit("subscription.update", subscription, actor, {name: str(value) for name, value in fields.items()})
    return subscription


def _refuse_provider_managed(subscription: Subscription) -> None:
    """A provider that renews by itself and must be told, but can't be: only the subscriber can, over there."""
    if subscription.provider is None or not renews_by_itself(subscription):
        return
    provider = registry.get(subscription.provider)
    url = provider.manage_url(subscription.provider_sub_id or "")
    if url is not None and not provider.capabilities.cancel_at_period_end:
        raise ProviderManaged(details={"manage_url": url})


def _own_method(subscription: Subscription, method_id: uuid.UUID | None) -> uuid.UUID | None:
    if method_id is None:
        return None
    if not PaymentMethod.objects.filter(pk=method_id, user_id=subscription.user_id, is_active=True).exists():
        raise ValidationFailed.field("payment_method_id", "There is no such payment method")
    return method_id


def _audit(action: str, subscription: Subscription, actor: str, data: dict[str, Any]) -> None:
    audit.record(actor=actor, action=action, subject_type="subscription", subject_id=subscription.pk, data=data)
