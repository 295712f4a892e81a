"""What the sandbox tells: bodies of events, written as deliveries beside the fact."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from payflow.core.ids import uuid7
from payflow.core.money import round_amount
from payflow.core.nudges import nudge
from providers.sandbox.accounts import account_of_row
from providers.sandbox.described import moment_text, subscription_shown
from providers.sandbox.faults import fault_take
from providers.sandbox.models import (
    DisputeStatus,
    FaultKind,
    SandboxCheckout,
    SandboxDelivery,
    SandboxDispute,
    SandboxEvent,
    SandboxMethod,
    SandboxPayment,
    SandboxRefund,
    SandboxSubscription,
)

#: The task that sends what is written here.
DELIVER = "providers.sandbox.tasks.deliver"
_DISPUTES = {
    DisputeStatus.OPEN: "payment.disputed",
    DisputeStatus.LOST: "payment.dispute_lost",
    DisputeStatus.WON: "payment.dispute_won",
}


def payment_event(
    payment: SandboxPayment, *, wall: datetime, due: datetime | None = None, at: datetime | None = None
) -> None:
    """payment.succeeded or payment.failed; a charge that awaits its payer is no event yet.

    `due` later than `wall` keeps the news back (a charge whose answer is held). `at` is the business time of a payment of a
    subscription of the sandbox's own; all else knows real time only.
    """
    succeeded = payment.status == SandboxPayment.Status.SUCCEEDED
    data = _payment(payment)
    if not succeeded:
        data |= {"code": payment.decline_code, "recoverable": payment.recoverable}
    _record(payment, "payment.succeeded" if succeeded else "payment.failed", data, wall=wall, due=due, at=at)


def state_event(subscription: SandboxSubscription, type_: str, *, at: datetime, wall: datetime) -> None:
    """What a subscription of the sandbox's own has become: subscription.<word>."""
    method = {"method": _method(subscription.method)}
    _record(subscription, type_, {"subscription": subscription_shown(subscription), **method}, wall=wall, at=at)


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


def refund_event(refund: SandboxRefund, *, hook_url: str, wall: datetime, at: datetime) -> None:
    """payment.refunded; `idempotency_key` is the refund's, `payment_id` the payment that it gives back."""
    payment = refund.payment
    data = _payment(payment) | {
        "refund_id": refund.ref,
        "idempotency_key": refund.idempotency_key,
        "amount": amount_text(refund.amount, payment.currency),
        "reason": refund.reason,
    }
    _record(payment, "payment.refunded", data, wall=wall, at=at, hook_url=hook_url)


def dispute_event(dispute: SandboxDispute, *, wall: datetime, at: datetime) -> None:
    """payment.disputed, payment.dispute_lost or payment.dispute_won: what the dispute is now."""
    payment = dispute.payment
    data = _payment(payment) | {
        "dispute_id": dispute.ref,
        "idempotency_key": dispute.idempotency_key,
        "amount": amount_text(dispute.amount, payment.currency),
        "reason": dispute.reason,
    }
    _record(payment, _DISPUTES[DisputeStatus(dispute.status)], data, wall=wall, at=at, hook_url=dispute.hook_url)


def amount_text(amount: Decimal, currency: str) -> str:
    return format(round_amount(amount, currency), "f")


def _payment(payment: SandboxPayment) -> dict[str, Any]:
    checkout, method, subscription = payment.checkout, payment.method, payment.subscription
    source = checkout or subscription
    period: dict[str, Any] = {}
    if subscription:
        period = {
            "subscription": subscription_shown(subscription),
            "period_start": moment_text(payment.period_start),
            "period_end": moment_text(payment.period_end),
        }
    return {
        "payment_id": payment.ref,
        "order_ref": source.order_ref if source else "",
        # Of a renewal it is the sandbox's own: nobody outside gave it.
        "idempotency_key": payment.idempotency_key if checkout or not subscription else "",
        "amount": amount_text(payment.amount, payment.currency),
        "currency": payment.currency,
        "user_ref": source.user_ref if source else method.user_ref if method else "",
        "plan_ref": source.plan_ref if source else "",
        "method": _method(method) if method else None,
        **period,
    }


def _method(method: SandboxMethod) -> dict[str, str]:
    return {"ref": method.ref, "customer": method.customer_ref, "brand": method.brand, "last4": method.last4}


def _record(
    fact: SandboxPayment | SandboxCheckout | SandboxSubscription,
    type_: str,
    data: dict[str, Any],
    *,
    wall: datetime,
    due: datetime | None = None,
    at: datetime | None = None,
    hook_url: str = "",
) -> None:
    """Writes the delivery in the caller's transaction and nudges the worker after it; no address, no delivery.

    What concerns a subscription of the sandbox's own is written into its list of news besides, and told as of business time.
    """
    own = fact if isinstance(fact, SandboxSubscription) else getattr(fact, "subscription", None)
    event_id, occurred_at = f"evt_{uuid7().hex}", (at if own else None) or wall
    event = {"id": event_id, "type": type_, "created_at": occurred_at.astimezone(UTC).isoformat(), "data": data}
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    if own:
        SandboxEvent.objects.create(
            account=fact.account, event_id=event_id, subscription=own, body=body, occurred_at=occurred_at
        )
    address = hook_url or fact.hook_url or _address_of(fact.account, own)
    if not address or fault_take(account=fact.account, kind=FaultKind.LOSE):
        return
    SandboxDelivery.objects.create(
        account=fact.account,
        event_id=event_id,
        hook_url=address,
        body=body,
        next_attempt_at=_turned(fact.account, due or wall),
        repeats=1 if fault_take(account=fact.account, kind=FaultKind.REPEAT) else 0,
    )
    nudge(DELIVER)


def _address_of(account_id: str, own: SandboxSubscription | None) -> str:
    """Where news of purchases in the store go: no shop was there to say so."""
    account = account_of_row(account_id) if own else None
    return account.hook_url if account else ""


def _turned(account: str, due: datetime) -> datetime:
    """When a delivery is due; where news are to come newest first, before all that wait."""
    fault = fault_take(account=account, kind=FaultKind.REORDER)
    if fault is None:
        return due
    waiting = SandboxDelivery.objects.filter(account=account, status="pending").order_by("next_attempt_at")
    first = waiting.values_list("next_attempt_at", flat=True).first()
    return min(first or due, fault.switched_on_at) - timedelta(milliseconds=1)
