"""Money that the sandbox gives back of its own accord."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from providers.sandbox.events import refund_event
from providers.sandbox.models import DisputeStatus, SandboxPayment, SandboxRefund


def payment_give_back(payment: SandboxPayment, *, reason: str, at: datetime, wall: datetime) -> None:
    """Refunds what is left of a payment, once, and tells; what is disputed the bank decides. The caller holds its lock."""
    rest: Decimal = payment.amount - payment.refunded
    if not rest or payment.disputes.exclude(status=DisputeStatus.WON).exists():
        return
    refund = SandboxRefund.objects.create(
        account=payment.account,
        idempotency_key=f"{payment.ref}:rest",
        request_hash="",
        payment=payment,
        amount=rest,
        reason=reason,
    )
    payment.refunded += rest
    payment.save(update_fields=["refunded"])
    refund_event(refund, hook_url="", wall=wall, at=at)
