"""What the sandbox tells: bodies of events, written as deliveries beside the fact."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from payflow.core.ids import uuid7
from payflow.core.money import round_amount
from payflow.core.nudges import nudge
from providers.sandbox.models import (
    DisputeStatus,
    SandboxCheckout,
    SandboxDelivery,
    SandboxDispute,
    SandboxMethod,
    SandboxPayment,
    SandboxRefund,
)

#: The task that sends what is written here.
DELIVER = "providers.sandbox.tasks.deliver"
_DISPUTES = {
    DisputeStatus.OPEN: "payment.disputed",
    DisputeStatus.LOST: "payment.dispute_lost",
    DisputeStatus.WON: "payment.dispute_won",
}


def payment_event(payment: SandboxPayment, *, wall: datetime, due: datetime | None = None) -> None:
    """payment.succeeded or payment.failed; a charge that awaits its payer is no event yet.

    `due` later than `wall` keeps the news back (a charge whose answer is held).
    """
    succeeded = payment.status == SandboxPayment.Status.SUCCEEDED
    data = _payment(payment)
    if not succeeded:
        data |= {"code": payment.decline_code, "recoverable": payment.recoverable}
    _record(payment, "payment.succeeded" if succeeded else "payment.failed", data, wall=wall, due=due)


def completed_event(checkout: SandboxCheckout, method: SandboxMethod, *, wall: datetime) -> None:
    """A checkout done without money (a trial): all there is to tell is the stored method."""
    data = {
        "checkout_id": checkout.ref,
        "order_ref": checkout.order_ref,
        "idempotency_key": checkout.idempotency_key,
        "user_ref": checkout.user_ref,
        "plan_ref": checkout.plan_ref,
        "trial_days": checkout.trial_days,
        "method": _method(method),
    }
    _record(checkout, "checkout.completed", data, wall=wall)


def refund_event(refund: SandboxRefund, *, hook_url: str, wall: datetime) -> None:
    """payment.refunded; `idempotency_key` is the refund's, `payment_id` the payment that it gives back."""
    payment = refund.payment
    data = _payment(payment) | {
        "refund_id": refund.ref,
        "idempotency_key": refund.idempotency_key,
        "amount": amount_text(refund.amount, payment.currency),
        "reason": refund.reason,
    }
    _record(payment, "payment.refunded", data, wall=wall, hook_url=hook_url)


def dispute_event(dispute: SandboxDispute, *, wall: datetime) -> None:
    """payment.disputed, payment.dispute_lost or payment.dispute_won: what the dispute is now."""
    payment = dispute.payment
    data = _payment(payment) | {
        "dispute_id": dispute.ref,
        "idempotency_key": dispute.idempotency_key,
        "amount": amount_text(dispute.amount, payment.currency),
        "reason": dispute.reason,
    }
    _record(payment, _DISPUTES[DisputeStatus(dispute.status)], data, wall=wall, hook_url=dispute.hook_url)


def amount_text(amount: Decimal, currency: str) -> str:
    return format(round_amount(amount, currency), "f")


def _payment(payment: SandboxPayment) -> dict[str, Any]:
    checkout, method = payment.checkout, payment.method
    return {
        "payment_id": payment.ref,
        "order_ref": checkout.order_ref if checkout else "",
        "idempotency_key": payment.idempotency_key,
        "amount": amount_text(payment.amount, payment.currency),
        "currency": payment.currency,
        "user_ref": checkout.user_ref if checkout else method.user_ref if method else "",
        "plan_ref": checkout.plan_ref if checkout else "",
        "method": _method(method) if method else None,
    }


def _method(method: SandboxMethod) -> dict[str, str]:
    return {"ref": method.ref, "customer": method.customer_ref, "brand": method.brand, "last4": method.last4}


def _record(
    fact: SandboxPayment | SandboxCheckout,
    type_: str,
    data: dict[str, Any],
    *,
    wall: datetime,
    due: datetime | None = None,
    hook_url: str = "",
) -> None:
    """Writes the delivery in the caller's transaction and nudges the worker after it; no address, no delivery."""
    address = hook_url or fact.hook_url
    if not address:
        return
    event_id = f"evt_{uuid7().hex}"
    event = {"id": event_id, "type": type_, "created_at": wall.astimezone(UTC).isoformat(), "data": data}
    SandboxDelivery.objects.create(
        account=fact.account,
        event_id=event_id,
        hook_url=address,
        body=json.dumps(event, ensure_ascii=False, separators=(",", ":")),
        next_attempt_at=due or wall,
    )
    nudge(DELIVER)
