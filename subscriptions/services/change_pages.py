"""Pages of changes that nobody paid in time: the change is given up, and the credit that its draft held comes back."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from subscriptions.locks import subscription_lock
from subscriptions.models import Checkout
from subscriptions.services.changes import change_give_up, open_change

log = logging.getLogger(__name__)


def change_pages_sweep(*, now: datetime, wall: datetime) -> int:
    """Closes one batch of expired pages, each in a transaction of its own, and returns how many."""
    del wall  # a page expires by business time
    expired = _waiting().filter(expires_at__lte=now).order_by("expires_at")
    keys = expired.values_list("pk", "subscription_id")[: settings.SWEEP_BATCH]
    closed = 0
    for checkout_id, subscription_id in keys:
        assert subscription_id is not None, "a change is a subscription's"
        try:
            closed += _close(checkout_id, subscription_id, now)
        except Exception:
            log.exception("the page of checkout %s cannot be closed", checkout_id)
    return closed


def change_pages_due(after: datetime) -> datetime | None:
    """The earliest business moment later than `after` at which a page expires."""
    waiting = _waiting().filter(expires_at__gt=after).order_by("expires_at")
    return waiting.values_list("expires_at", flat=True).first()


def _waiting() -> QuerySet[Checkout]:
    return Checkout.objects.filter(
        purpose=Checkout.Purpose.CHANGE, status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN]
    )


def _close(checkout_id: uuid.UUID, subscription_id: uuid.UUID, now: datetime) -> bool:
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        checkout = _waiting().filter(pk=checkout_id).first()
        if checkout is None:
            return False  # paid or replaced while we waited for the lock
        change = open_change(subscription)
        if change is not None and change.invoice_id == checkout.invoice_id:
            change_give_up(change, at=now)
        else:
            checkout.status = Checkout.Status.EXPIRED
            checkout.save()
    return True
