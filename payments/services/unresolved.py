"""Charges and refunds that have had no answer: asked about until there is one, never sent under another key."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F

from payflow.core.locks import claim_rows
from payments.models import PaymentTransaction
from payments.services.charges import charge_resolve
from payments.services.refunds import refund_send

Status = PaymentTransaction.Status
Type = PaymentTransaction.Type

#: Pending for longer than this much real time, a row has lost its process; longer than any client waits.
UNRESOLVED_AFTER = timedelta(minutes=2)

log = logging.getLogger(__name__)


def charges_sweep(*, now: datetime, wall: datetime) -> int:
    """Asks the provider about one batch of charges without an answer."""
    return _ask(Type.CHARGE, lambda pk: charge_resolve(transaction_id=pk, at=now), wall)


def refunds_sweep(*, now: datetime, wall: datetime) -> int:
    """Sends one batch of refunds without an answer again, under the keys they have; asks about those that have none."""
    return _ask(Type.REFUND, lambda pk: refund_send(refund_id=pk, at=now, lost=True), wall)


def _ask(type_: str, ask: Callable[[uuid.UUID], PaymentTransaction], wall: datetime) -> int:
    claimed = _claim(type_, wall)
    for transaction_id in claimed:
        try:
            ask(transaction_id)
        except Exception:
            log.exception("%s %s cannot be resolved", type_, transaction_id)
    return len(claimed)


def _claim(type_: str, wall: datetime) -> list[uuid.UUID]:
    with transaction.atomic():
        waiting = PaymentTransaction.objects.filter(
            type=type_, status=Status.PENDING, updated_at__lte=wall - UNRESOLVED_AFTER
        )
        claimed = [row.pk for row in claim_rows(waiting.order_by("updated_at"), limit=settings.SWEEP_BATCH)]
        # Any UPDATE moves `updated_at`: that is the lease, and it puts what can't be resolved behind what can.
        PaymentTransaction.objects.filter(pk__in=claimed).update(attempt=F("attempt"))
    return claimed
