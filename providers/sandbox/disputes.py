"""Disputes, as the sandbox's owner plays them: the payer's bank asks the money back, then the dispute is lost or won.

A payment can be disputed again only after it has won. What was refunded can be disputed too: banks don't ask.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from payflow.core.locks import lock_rows
from providers.sandbox.errors import Disputed, Exceeds, NotPaid, Unknown
from providers.sandbox.events import dispute_event
from providers.sandbox.inputs import ReversalInput, amount_in
from providers.sandbox.models import DisputeStatus, SandboxDispute, SandboxPayment
from providers.sandbox.services import payment_lock, same_request


def dispute_open(
    *, account: str, payment_ref: str, key: str, wanted: ReversalInput, now: datetime, wall: datetime
) -> tuple[SandboxDispute, bool]:
    """Opens the dispute of this key, or finds it; of `wanted.amount` or of all. Raises Unknown, KeyReused, NotPaid,
    Disputed, Exceeds.
    """
    with transaction.atomic():
        payment = payment_lock(account=account, payment_ref=payment_ref)
        fingerprint = wanted.hash(payment.ref)
        earlier = SandboxDispute.objects.filter(account=account, idempotency_key=key).first()
        if earlier is not None:
            same_request(earlier.request_hash, fingerprint)
            return earlier, False
        dispute, created = SandboxDispute.objects.get_or_create(
            account=account,
            idempotency_key=key,
            defaults={
                "request_hash": fingerprint,
                "payment": payment,
                "amount": _disputable(payment, wanted.amount),
                "reason": wanted.reason,
                "hook_url": wanted.hook_url,
            },
        )
        # Not created: the key was taken meanwhile, under the lock of another payment.
        same_request(dispute.request_hash, fingerprint)
        dispute_event(dispute, wall=wall, at=now)
    return dispute, created


def dispute_end(
    *, account: str, dispute_ref: str, outcome: DisputeStatus, now: datetime, wall: datetime
) -> SandboxDispute:
    """Loses or wins an open dispute; the same outcome again is the same end. Raises Unknown, Disputed."""
    with transaction.atomic():
        mine = SandboxDispute.objects.filter(account=account, pk=SandboxDispute.key_of(dispute_ref))
        for dispute in lock_rows(mine):
            if dispute.status == outcome:
                return dispute
            if dispute.status != DisputeStatus.OPEN:
                raise Disputed(f"this dispute is {dispute.status}")
            dispute.status = outcome
            dispute.save(update_fields=["status"])
            dispute_event(dispute, wall=wall, at=now)
            return dispute
    raise Unknown("no such dispute")


def _disputable(payment: SandboxPayment, wanted: Decimal | None) -> Decimal:
    if payment.status != SandboxPayment.Status.SUCCEEDED:
        raise NotPaid("this payment was not taken")
    if payment.disputes.exclude(status=DisputeStatus.WON).exists():
        raise Disputed("this payment is disputed")
    amount = payment.amount if wanted is None else amount_in(wanted, payment.currency)
    if not 0 < amount <= payment.amount:
        raise Exceeds("more than the payment")
    return amount
