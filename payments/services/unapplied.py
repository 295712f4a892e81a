"""Money that settles nothing (setting UNAPPLIED_PAYMENT): it goes back where the provider can give it back, or becomes
credit of its payer; else it waits.

The delivery that brought it is in review either way, so that an operator sees why.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from payflow.core.errors import DomainError
from payflow.core.money import Money
from payments.credits import grant_write, payment_key
from payments.locks import transaction_lock
from payments.models import CreditGrant, CreditSource, PaymentTransaction
from payments.selectors import credit_of_payments, payments_unapplied
from payments.services.credits import granted
from payments.services.refunds import refund_create
from providers import registry

REFUND, CREDIT = "refund", "credit"
#: The account that owns money whose payer nobody can name: nobody can spend its credit.
UNMATCHED_PAYER = "unmatched@payflow.invalid"
SYSTEM = "system"

log = logging.getLogger(__name__)


def unapplied_sweep(*, now: datetime, wall: datetime) -> int:
    """Refunds each unapplied payment once, or makes it credit; a refused refund is left to an operator.

    What has a refund, a dispute or credit already is an operator's too.
    """
    del wall
    policy = settings.UNAPPLIED_PAYMENT
    if policy not in (REFUND, CREDIT):
        return 0
    # A refund, tried or made, and a dispute that is not won: what is won is as if it had not been.
    touched = PaymentTransaction.objects.filter(parent=OuterRef("pk")).exclude(
        type=PaymentTransaction.Type.CHARGEBACK, status=PaymentTransaction.Status.FAILED
    )
    waiting = payments_unapplied().filter(~Exists(touched), ~Exists(credit_of_payments()))
    payers = waiting.filter(user__is_active=True).exclude(user__email=UNMATCHED_PAYER)
    if policy == CREDIT:
        return _each(payers, lambda charge_id: payment_credit(charge_id=charge_id, at=now))
    able = {name: registry.get(name).capabilities.refund_full for name in registry.names()}
    refundable = [name for name, can in able.items() if can]
    done = _each(waiting.filter(provider__in=refundable), lambda charge_id: _refund(charge_id, now))
    stuck = payers.filter(provider__in=set(able).difference(refundable))
    return done + _each(stuck, lambda charge_id: payment_credit(charge_id=charge_id, at=now))


def payment_credit(*, charge_id: uuid.UUID, at: datetime) -> CreditGrant | None:
    """Makes what is left of an unapplied payment credit of its user, once. None where it is not unapplied any more.

    It does not expire: it is the user's own money.
    """
    with transaction.atomic():
        charge = transaction_lock(charge_id)
        rest = Money(charge.amount - charge.refunded_amount, charge.currency)
        key = payment_key(charge.pk)
        is_unapplied = (charge.type, charge.status, charge.invoice_id) == (
            PaymentTransaction.Type.CHARGE,
            PaymentTransaction.Status.COMPLETED,
            None,
        )
        if not is_unapplied or not rest or CreditGrant.objects.filter(key=key).exists():
            return None
        grant = grant_write(
            user_id=charge.user_id,
            money=rest,
            source=CreditSource.PAYMENT,
            reason=f"Unapplied payment: {charge.reason}"[:255],
            key=key,
            explanation={"payment": str(charge.pk)},
            at=at,
        )
        granted(grant, charge.user_id, actor=SYSTEM, at=at)
    return grant


def _refund(charge_id: uuid.UUID, now: datetime) -> None:
    refund_create(charge_id=charge_id, amount=None, reason="unapplied", actor=SYSTEM, at=now, request_id=charge_id)


def _each(payments: QuerySet[PaymentTransaction], handle: Callable[[uuid.UUID], object]) -> int:
    done = 0
    for charge_id in payments.order_by("created_at").values_list("pk", flat=True)[: settings.SWEEP_BATCH]:
        try:
            handle(charge_id)
            done += 1
        except DomainError as error:
            # Its row says why, and it is tried by the refunds' own sweep or by an operator.
            log.warning("unapplied payment %s stays: %s", charge_id, error.code)
        except Exception:
            log.exception("unapplied payment %s cannot be handled", charge_id)
    return done
