"""What happens on the hosted page. Every step locks its row first: a double click is one payment."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from payflow.core.locks import lock_rows
from providers.sandbox.events import completed_event, payment_event
from providers.sandbox.inputs import MethodInput
from providers.sandbox.models import Behaviour, PaymentStatus, SandboxCheckout, SandboxMethod, SandboxPayment
from providers.sandbox.services import customer_of, method_create
from providers.sandbox.subscriptions import subscription_start


def page_subject(*, token: str) -> SandboxCheckout | SandboxPayment | None:
    """What a page's unguessable token opens: a checkout, or a charge that awaits its payer."""
    return (
        SandboxCheckout.objects.filter(token=token).first() or SandboxPayment.objects.filter(action_token=token).first()
    )


def checkout_pay(*, checkout: SandboxCheckout, card: Behaviour, now: datetime, wall: datetime) -> SandboxCheckout:
    """Takes the money (none for a trial), stores the card, tells. A checkout that is done or expired stays as it is.

    A checkout of a product begins a subscription, at `now` by business time.
    """
    with transaction.atomic():
        [locked] = lock_rows(SandboxCheckout.objects.filter(pk=checkout.pk))
        if not is_open(locked, wall=wall):
            return locked
        locked.status = SandboxCheckout.Status.COMPLETED
        locked.save(update_fields=["status"])
        method = method_create(
            account=locked.account,
            wanted=MethodInput(customer_of(locked.account, locked.user_ref), behaviour=card, hook_url=locked.hook_url),
            user_ref=locked.user_ref,
        )
        if locked.product_id is not None:
            paid = _payment(locked, PaymentStatus.SUCCEEDED, method=method) if takes_money(locked) else None
            subscription_start(checkout=locked, method=method, payment=paid, now=now, wall=wall)
        elif takes_money(locked):
            payment_event(_payment(locked, PaymentStatus.SUCCEEDED, method=method), wall=wall)
        else:
            completed_event(locked, method, wall=wall)
    return locked


def checkout_decline(*, checkout: SandboxCheckout, wall: datetime) -> SandboxCheckout:
    """The card is refused; the checkout stays open for another try."""
    with transaction.atomic():
        [locked] = lock_rows(SandboxCheckout.objects.filter(pk=checkout.pk))
        if is_open(locked, wall=wall) and locked.amount:
            payment_event(_payment(locked, PaymentStatus.DECLINED, code="card_declined"), wall=wall)
    return locked


def action_finish(*, charge: SandboxPayment, confirmed: bool, wall: datetime) -> SandboxPayment:
    """The payer has confirmed a charge, or has not. What is decided stays decided."""
    with transaction.atomic():
        [locked] = lock_rows(SandboxPayment.objects.filter(pk=charge.pk))
        if locked.status == PaymentStatus.REQUIRES_ACTION:
            locked.status = PaymentStatus.SUCCEEDED if confirmed else PaymentStatus.DECLINED
            locked.decline_code = "" if confirmed else "authentication_failed"
            locked.save(update_fields=["status", "decline_code"])
            payment_event(locked, wall=wall)
    return locked


def is_open(checkout: SandboxCheckout, *, wall: datetime) -> bool:
    return checkout.status == SandboxCheckout.Status.OPEN and wall < checkout.expires_at


def takes_money(checkout: SandboxCheckout) -> bool:
    """False for a trial, and for a first period that costs nothing: the card is stored for later."""
    return not checkout.trial_days and checkout.amount > 0


def _payment(
    checkout: SandboxCheckout, status: PaymentStatus, *, method: SandboxMethod | None = None, code: str = ""
) -> SandboxPayment:
    return SandboxPayment.objects.create(
        account=checkout.account,
        kind=SandboxPayment.Kind.CHECKOUT,
        idempotency_key=checkout.idempotency_key,
        checkout=checkout,
        method=method,
        amount=checkout.amount,
        currency=checkout.currency,
        status=status,
        decline_code=code,
        hook_url=checkout.hook_url,
    )
