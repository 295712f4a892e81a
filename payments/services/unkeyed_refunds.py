"""Refunds at a provider that has no key by which one is made once (`Caps.unkeyed_refunds`): sent by one process, once.

That it is about to be sent is committed before the provider hears of it. Whoever comes later asks what became of it, by the
id that the provider has given it; where it gave none, an operator looks.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import transaction

from payments import settlement
from payments.locks import transaction_lock
from payments.models import PaymentTransaction

#: In a refund's metadata: that it was sent, the provider's id for it while it is under way, that an operator has to look.
SENT, THEIR_ID, LOST = "sent", "their_id", "lost"
UNANSWERED = "a refund has had no answer: look at the provider whether it was made"

Status = PaymentTransaction.Status


def refund_take(*, refund_id: uuid.UUID, at: datetime) -> bool:
    """True for the one caller that may send it. Its answer may be lost: then nobody may any more."""
    return _note(refund_id, SENT, at.isoformat())


def refund_lay_back(*, refund_id: uuid.UUID) -> None:
    """It was not made for certain: it may be sent again."""
    with transaction.atomic():
        refund = transaction_lock(refund_id)
        if SENT in refund.metadata:
            refund.metadata = {name: value for name, value in refund.metadata.items() if name != SENT}
            refund.save(update_fields=["metadata"])


def refund_remember(*, refund_id: uuid.UUID, provider_refund_id: str) -> None:
    """It is under way there, under this id."""
    _note(refund_id, THEIR_ID, provider_refund_id)


def refund_look_for(*, refund_id: uuid.UUID, at: datetime) -> None:
    """Nobody can say what became of it: it stays pending, and its subscription waits for review. Once."""
    with transaction.atomic():
        if _note(refund_id, LOST, at.isoformat()):
            refund = PaymentTransaction.objects.select_related("parent").get(pk=refund_id)
            assert refund.parent is not None, "a refund has its charge"
            settlement.refund_amiss(charge=refund.parent, reason=UNANSWERED, at=at)


def is_looked_for(refund: PaymentTransaction) -> bool:
    """Does it wait for an operator who says whether it was made?"""
    return refund.type == PaymentTransaction.Type.REFUND and refund.status == Status.PENDING and LOST in refund.metadata


def _note(refund_id: uuid.UUID, name: str, value: Any) -> bool:
    """Writes it into a pending refund's metadata; False where it stands there already, or the refund is not pending."""
    with transaction.atomic():
        refund = transaction_lock(refund_id)
        if refund.status != Status.PENDING or name in refund.metadata:
            return False
        refund.metadata = {**refund.metadata, name: value}
        refund.save(update_fields=["metadata"])
        return True
