"""Money that settles nothing goes back where the provider can give it back (setting UNAPPLIED_PAYMENT); else it waits.

The delivery that brought it is in review either way, so that an operator sees why.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.conf import settings
from django.db.models import Exists, OuterRef

from payflow.core.errors import DomainError
from payments.models import PaymentTransaction
from payments.services.refunds import refund_create
from providers import registry

REFUND = "refund"

log = logging.getLogger(__name__)


def unapplied_sweep(*, now: datetime, wall: datetime) -> int:
    """Refunds each unapplied payment once, under a key made of its own; a refused refund is left to an operator."""
    del wall
    if settings.UNAPPLIED_PAYMENT != REFUND:
        return 0
    refundable = [name for name in registry.names() if registry.get(name).capabilities.refund_full]
    # A refund, tried or made, and a dispute that is not won: what is won is as if it had not been.
    taken_back = PaymentTransaction.objects.filter(parent=OuterRef("pk")).exclude(
        type=PaymentTransaction.Type.CHARGEBACK, status=PaymentTransaction.Status.FAILED
    )
    unapplied = PaymentTransaction.objects.filter(
        ~Exists(taken_back),
        type=PaymentTransaction.Type.CHARGE,
        status=PaymentTransaction.Status.COMPLETED,
        invoice=None,
        provider__in=refundable,
    ).order_by("created_at")
    done = 0
    for charge_id in unapplied.values_list("pk", flat=True)[: settings.SWEEP_BATCH]:
        try:
            refund_create(
                charge_id=charge_id, amount=None, reason="unapplied", actor="system", at=now, request_id=charge_id
            )
            done += 1
        except DomainError as error:
            # Its row says why, and it is tried by the refunds' own sweep or by an operator.
            log.warning("unapplied payment %s is not refunded: %s", charge_id, error.code)
        except Exception:
            log.exception("unapplied payment %s cannot be refunded", charge_id)
    return done
