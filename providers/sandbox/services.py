"""What the sandbox does when it is asked by its API. `account` is the asking account's id, `wall` real time.

A key stands for one request: the second call with it gets the first one's row as it is now, and another request under it
is KeyReused. The unique index decides between two calls at once; nothing here waits on anybody but the database.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from payflow.core.locks import lock_rows
from providers.sandbox.errors import Disputed, Exceeds, KeyReused, NotPaid, Unknown
from providers.sandbox.events import payment_event, refund_event
from providers.sandbox.inputs import ChargeInput, CheckoutInput, MethodInput, ReversalInput, amount_in
from providers.sandbox.models import (
    Behaviour,
    DisputeStatus,
    SandboxCheckout,
    SandboxMethod,
    SandboxPayment,
    SandboxProduct,
    SandboxRefund,
    new_token,
)

CHECKOUT_LIFETIME = timedelta(hours=24)

#: How a card looks: brand and last digits. They follow from what it is going to do, so that a tester tells them apart.
CARDS = {
    Behaviour.OK: ("visa", "4242"),
    Behaviour.DECLINE: ("visa", "0341"),
    Behaviour.STOLEN: ("mastercard", "9979"),
    Behaviour.ACTION: ("visa", "3155"),
    Behaviour.TIMEOUT: ("mastercard", "0119"),
    Behaviour.HOLD: ("amex", "0005"),
}

#: What a charge of a stored method comes to: status, decline code, whether asking again can help.
OUTCOMES = {
    Behaviour.OK: (SandboxPayment.Status.SUCCEEDED, "", True),
    Behaviour.DECLINE: (SandboxPayment.Status.DECLINED, "insufficient_funds", True),
    Behaviour.STOLEN: (SandboxPayment.Status.DECLINED, "stolen_card", False),
    Behaviour.ACTION: (SandboxPayment.Status.REQUIRES_ACTION, "", True),
    Behaviour.TIMEOUT: (SandboxPayment.Status.SUCCEEDED, "", True),
    Behaviour.HOLD: (SandboxPayment.Status.SUCCEEDED, "", True),
}


def checkout_create(*, account: str, key: str, wanted: CheckoutInput, wall: datetime) -> tuple[SandboxCheckout, bool]:
    """The checkout of this key, and whether it is new. Raises KeyReused, Unknown (no such product)."""
    product = product_of(account, wanted.product_ref) if wanted.product_ref else None
    checkout, created = SandboxCheckout.objects.get_or_create(
        account=account,
        idempotency_key=key,
        defaults={
            "request_hash": wanted.hash,
            "kind": wanted.kind,
            "order_ref": wanted.order_ref,
            "product": product,
            "amount": product.price if product else wanted.amount,
            "currency": product.currency if product else wanted.currency,
            "user_ref": wanted.user_ref,
            "plan_ref": wanted.plan_ref,
            "description": product.name if product else wanted.description,
            "billed": wanted.billed,
            "email": wanted.email,
            "trial_days": wanted.trial_days,
            "success_url": wanted.success_url,
            "cancel_url": wanted.cancel_url,
            "fail_url": wanted.fail_url,
            "hook_url": wanted.hook_url,
            "expires_at": wall + CHECKOUT_LIFETIME,
        },
    )
    same_request(checkout.request_hash, wanted.hash)
    return checkout, created


def product_of(account: str, product_ref: str) -> SandboxProduct:
    """Raises Unknown."""
    product = SandboxProduct.objects.filter(account=account, product_ref=product_ref).first()
    if product is None:
        raise Unknown("no such product")
    return product


def charge_create(
    *, account: str, key: str, wanted: ChargeInput, wall: datetime, hold: timedelta
) -> tuple[SandboxPayment, Behaviour | None]:
    """Charges a stored method; committed when it returns.

    The behaviour is the method's where this call made the charge, None where an earlier one did. News of a charge that
    times out is kept back for `hold`: it settles after the client has given up. Raises Unknown, KeyReused.
    """
    method = SandboxMethod.objects.filter(account=account, pk=SandboxMethod.key_of(wanted.method_ref)).first()
    if method is None or wanted.customer_ref not in ("", method.customer_ref):
        raise Unknown("no such method of this customer")
    behaviour = Behaviour(method.behaviour)
    status, code, recoverable = OUTCOMES[behaviour]
    with transaction.atomic():
        payment, created = SandboxPayment.objects.get_or_create(
            account=account,
            kind=SandboxPayment.Kind.CHARGE,
            idempotency_key=key,
            defaults={
                "request_hash": wanted.hash,
                "method": method,
                "amount": wanted.amount,
                "currency": wanted.currency,
                "status": status,
                "decline_code": code,
                "recoverable": recoverable,
                "action_token": new_token() if status == SandboxPayment.Status.REQUIRES_ACTION else None,
                "hook_url": wanted.hook_url or method.hook_url,
            },
        )
        same_request(payment.request_hash, wanted.hash)
        if created and status != SandboxPayment.Status.REQUIRES_ACTION:
            payment_event(payment, wall=wall, due=wall + hold if behaviour == Behaviour.TIMEOUT else None)
    return payment, behaviour if created else None


def charge_find(*, account: str, key: str) -> SandboxPayment:
    """The charge of this key, or the payment of the checkout of this key. Raises Unknown."""
    of_key = SandboxPayment.objects.filter(account=account, idempotency_key=key)
    payment = (
        of_key.filter(kind=SandboxPayment.Kind.CHARGE).first()
        or of_key.filter(status=SandboxPayment.Status.SUCCEEDED).first()
    )
    if payment is None:
        raise Unknown("no charge has this key")
    return payment


def method_create(*, account: str, wanted: MethodInput, user_ref: str = "") -> SandboxMethod:
    brand, last4 = CARDS[wanted.behaviour]
    return SandboxMethod.objects.create(
        account=account,
        customer_ref=wanted.customer_ref,
        user_ref=user_ref,
        behaviour=wanted.behaviour,
        brand=brand,
        last4=last4,
        hook_url=wanted.hook_url,
    )


def method_set_behaviour(*, account: str, method_ref: str, behaviour: Behaviour) -> SandboxMethod:
    """Changes what later charges of a stored method come to. Raises Unknown."""
    with transaction.atomic():
        for method in lock_rows(SandboxMethod.objects.filter(account=account, pk=SandboxMethod.key_of(method_ref))):
            method.behaviour = behaviour
            method.save(update_fields=["behaviour"])
            return method
    raise Unknown("no such method")


def customer_of(account: str, user_ref: str) -> str:
    """The same customer whenever the same user buys."""
    return f"cus_{hashlib.sha256(f'{account} {user_ref}'.encode()).hexdigest()[:24]}"


def refund_create(
    *, account: str, payment_ref: str, key: str, wanted: ReversalInput, now: datetime, wall: datetime
) -> tuple[SandboxRefund, bool]:
    """Gives back `wanted.amount`, or the whole rest. Raises Unknown, KeyReused, NotPaid, Disputed, Exceeds."""
    with transaction.atomic():
        payment = payment_lock(account=account, payment_ref=payment_ref)
        fingerprint = wanted.hash(payment.ref)
        earlier = SandboxRefund.objects.filter(account=account, idempotency_key=key).first()
        if earlier is not None:
            same_request(earlier.request_hash, fingerprint)
            return earlier, False
        refund, created = SandboxRefund.objects.get_or_create(
            account=account,
            idempotency_key=key,
            defaults={
                "request_hash": fingerprint,
                "payment": payment,
                "amount": _refundable(payment, wanted.amount),
                "reason": wanted.reason,
            },
        )
        # Not created: the key was taken meanwhile, under the lock of another payment.
        same_request(refund.request_hash, fingerprint)
        payment.refunded += refund.amount
        payment.save(update_fields=["refunded"])
        refund_event(refund, hook_url=wanted.hook_url, wall=wall, at=now)
    return refund, created


def payment_lock(*, account: str, payment_ref: str) -> SandboxPayment:
    """The payment under its lock, which all that is taken back of it waits for. Raises Unknown."""
    for payment in lock_rows(SandboxPayment.objects.filter(account=account, pk=SandboxPayment.key_of(payment_ref))):
        return payment
    raise Unknown("no such payment")


def _refundable(payment: SandboxPayment, wanted: Decimal | None) -> Decimal:
    if payment.status != SandboxPayment.Status.SUCCEEDED:
        raise NotPaid("this payment was not taken")
    if payment.disputes.exclude(status=DisputeStatus.WON).exists():
        raise Disputed("this payment is disputed")
    rest = payment.amount - payment.refunded
    amount = rest if wanted is None else amount_in(wanted, payment.currency)
    if not 0 < amount <= rest:
        raise Exceeds("more than what is left of the payment")
    return amount


def same_request(known: str, asked: str) -> None:
    if known != asked:
        raise KeyReused("this idempotency key was used for another request")
