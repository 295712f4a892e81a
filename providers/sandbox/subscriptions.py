"""What the sandbox does with subscriptions of its own when it is asked. `now` is business time, `wall` real time.

A wish that is fulfilled already changes nothing, and what has ended stays so. Whatever was due has happened before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import transaction

from payflow.core.ids import uuid7
from payflow.core.locks import lock_rows
from providers.sandbox.cycles import cycle_end
from providers.sandbox.errors import Declined, NotPossible, Unknown
from providers.sandbox.events import payment_event, state_event
from providers.sandbox.inputs import MethodInput, ReversalInput
from providers.sandbox.lifecycle import (
    ACKNOWLEDGE_WITHIN,
    become,
    charge,
    expire,
    live,
    revoke,
    save,
    take_back,
)
from providers.sandbox.models import (
    Behaviour,
    Cycle,
    PaymentStatus,
    SandboxCheckout,
    SandboxMethod,
    SandboxPayment,
    SandboxProduct,
    SandboxRefund,
    SandboxSubscription,
    SubscriptionStatus,
    new_token,
)
from providers.sandbox.services import customer_of, method_create, product_of, refund_create, same_request
from providers.sandbox.subscription_inputs import PurchaseInput

Status = SubscriptionStatus


def subscription_start(
    *, checkout: SandboxCheckout, method: SandboxMethod, payment: SandboxPayment | None, now: datetime, wall: datetime
) -> SandboxSubscription:
    """The subscription of a checkout that is done, in its transaction: paid for a cycle, or on trial (no payment)."""
    assert checkout.product is not None, "a checkout of a product"
    subscription = _new(checkout.product, method, trial_days=checkout.trial_days, paid=payment is not None, now=now)
    subscription.idempotency_key, subscription.request_hash = checkout.idempotency_key, checkout.request_hash
    subscription.user_ref, subscription.plan_ref = checkout.user_ref, checkout.plan_ref
    subscription.order_ref, subscription.hook_url = checkout.order_ref, checkout.hook_url
    save(subscription)
    if payment is not None:
        payment.subscription = subscription
        payment.period_start, payment.period_end = subscription.period_start, subscription.period_end
        payment.save(update_fields=["subscription", "period_start", "period_end"])
        payment_event(payment, wall=wall, at=now)
    _tell_start(subscription, now, wall)
    return subscription


def purchase_create(
    *, account: str, key: str, wanted: PurchaseInput, now: datetime, wall: datetime
) -> tuple[SandboxSubscription, bool]:
    """What the store's purchase sheet does when the buyer confirms: paid or on trial at once, to be acknowledged.

    Raises Unknown (product, or what it replaces), KeyReused, Declined.
    """
    product = product_of(account, wanted.product_ref)
    with transaction.atomic():
        earlier = SandboxSubscription.objects.filter(account=account, idempotency_key=key).first()
        if earlier is not None:
            same_request(earlier.request_hash, wanted.hash)
            return earlier, False
        replaced = _purchase_lock(account, wanted.replaces, now=now, wall=wall) if wanted.replaces else None
        customer = customer_of(account, wanted.user_ref or uuid7().hex)
        method = method_create(
            account=account,
            wanted=MethodInput(customer, behaviour=wanted.behaviour, hook_url=""),
            user_ref=wanted.user_ref,
        )
        trial_days = 0 if replaced else product.trial_days
        subscription = _new(product, method, trial_days=trial_days, paid=False, now=now)
        subscription.idempotency_key, subscription.request_hash = key, wanted.hash
        subscription.purchase_token = new_token()
        subscription.user_ref, subscription.order_ref = wanted.user_ref, wanted.order_ref
        subscription.is_test, subscription.replaces = wanted.is_test, replaced
        subscription.acknowledge_by = now + ACKNOWLEDGE_WITHIN
        save(subscription)
        if not trial_days and charge(subscription, product, start=now, at=now, wall=wall).status != "succeeded":
            raise Declined("the card was declined")  # and nothing of it stays
        save(subscription)
        _tell_start(subscription, now, wall)
        if replaced is not None and not replaced.has_ended:
            expire(replaced, at=now, wall=wall)
            save(replaced)
    return subscription, True


def subscription_find(*, account: str, ref: str, now: datetime, wall: datetime) -> SandboxSubscription:
    """As it is at `now`. Raises Unknown."""
    with transaction.atomic():
        return subscription_lock(account=account, ref=ref, now=now, wall=wall)


def subscriptions_bought(*, account: str, order_ref: str, now: datetime, wall: datetime) -> list[SandboxSubscription]:
    """What was bought under the shop's own reference, as it is at `now`, oldest first."""
    with transaction.atomic():
        found = lock_rows(SandboxSubscription.objects.filter(account=account, order_ref=order_ref))
        for subscription in found:
            live(subscription, now=now, wall=wall)
    return found


def purchase_find(*, account: str, token: str, now: datetime, wall: datetime) -> SandboxSubscription:
    """The subscription of a purchase token. Raises Unknown."""
    with transaction.atomic():
        return _purchase_lock(account, token, now=now, wall=wall)


def subscription_cancel(
    *, account: str, ref: str, at_period_end: bool, now: datetime, wall: datetime
) -> SandboxSubscription:
    """It renews no more. It ends now where it is to, or where nothing paid is left to be used. Raises Unknown."""
    with _asked(account, ref, now, wall) as subscription:
        if subscription.has_ended:
            return subscription
        if not at_period_end or subscription.status not in (Status.TRIAL, Status.ACTIVE):
            expire(subscription, at=now, wall=wall)
        elif subscription.auto_renew:
            subscription.auto_renew, subscription.next_product = False, None
            become(subscription, Status(subscription.status), "subscription.canceled", at=now, wall=wall)
    return subscription


def subscription_resume(*, account: str, ref: str, now: datetime, wall: datetime) -> SandboxSubscription:
    """Takes a cancellation back, or ends a pause: where nothing is paid any more a new cycle begins with a charge.

    Raises Unknown, NotPossible (it has ended), Declined.
    """
    with _asked(account, ref, now, wall) as subscription:
        if subscription.has_ended:
            raise NotPossible("it has ended")
        if subscription.status == Status.PAUSED and subscription.period_end <= now:
            _charged(subscription, subscription.product, now, wall)
            state_event(subscription, "subscription.resumed", at=now, wall=wall)
        elif subscription.status == Status.PAUSED:
            become(subscription, Status.ACTIVE, "subscription.resumed", at=now, wall=wall)
        elif not subscription.auto_renew:
            subscription.auto_renew = True
            become(subscription, Status(subscription.status), "subscription.resumed", at=now, wall=wall)
    return subscription


def subscription_pause(*, account: str, ref: str, now: datetime, wall: datetime) -> SandboxSubscription:
    """Nothing is charged and nothing may be used until it is resumed; what is paid is not given back.

    Raises Unknown, NotPossible (only what is active and renews can pause).
    """
    with _asked(account, ref, now, wall) as subscription:
        if subscription.status == Status.PAUSED:
            return subscription
        if subscription.status != Status.ACTIVE or not subscription.auto_renew:
            raise NotPossible("only what is active and renews can pause")
        become(subscription, Status.PAUSED, "subscription.paused", at=now, wall=wall)
    return subscription


def subscription_change(
    *, account: str, ref: str, product_ref: str, at_once: bool, now: datetime, wall: datetime
) -> SandboxSubscription:
    """Another product, from the next renewal on; `at_once` charges a cycle of it now, and the present one is over.

    Raises Unknown, NotPossible (only what is active or on trial changes), Declined.
    """
    product = product_of(account, product_ref)
    with _asked(account, ref, now, wall) as subscription:
        if product.pk == (subscription.next_product_id or subscription.product_id):
            return subscription
        if subscription.status not in (Status.TRIAL, Status.ACTIVE) or not subscription.auto_renew:
            raise NotPossible("only what is active and renews can change")
        if not at_once:
            subscription.next_product = None if product.pk == subscription.product_id else product
        elif product.pk == subscription.product_id:
            subscription.next_product = None
        else:
            _charged(subscription, product, now, wall)
            state_event(subscription, "subscription.plan_changed", at=now, wall=wall)
    return subscription


def subscription_acknowledge(*, account: str, ref: str, now: datetime, wall: datetime) -> SandboxSubscription:
    """The purchase was delivered. Raises Unknown, NotPossible (it was taken back before)."""
    with _asked(account, ref, now, wall) as subscription:
        if subscription.status == Status.REVOKED:
            raise NotPossible("it was taken back")
        subscription.acknowledge_by = None
    return subscription


def subscription_extend(*, account: str, ref: str, days: int, now: datetime, wall: datetime) -> SandboxSubscription:
    """The sandbox's owner gives time: the period ends later, and the next follows it. Raises Unknown, NotPossible."""
    with _asked(account, ref, now, wall) as subscription:
        if subscription.status != Status.ACTIVE:
            raise NotPossible("only what is active can be extended")
        subscription.period_end += timedelta(days=days)
        subscription.anchor, subscription.cycles = subscription.period_end, 0
        become(subscription, Status.ACTIVE, "subscription.extended", at=now, wall=wall)
    return subscription


def subscription_take_back(*, account: str, ref: str, now: datetime, wall: datetime) -> SandboxSubscription:
    """The sandbox's owner refunds all that was paid, and it is revoked. Raises Unknown."""
    with _asked(account, ref, now, wall) as subscription:
        if not subscription.has_ended:
            take_back(subscription, reason="taken back", at=now, wall=wall)
    return subscription


def subscription_pay(*, account: str, ref: str, card: Behaviour, now: datetime, wall: datetime) -> SandboxSubscription:
    """The subscriber gives another card, and what is due is charged to it now. Raises Unknown, Declined."""
    with _asked(account, ref, now, wall) as subscription:
        method = subscription.method
        method.behaviour = card
        method.save(update_fields=["behaviour"])
        if subscription.status in (Status.PAST_DUE, Status.ON_HOLD):
            in_grace = subscription.status == Status.PAST_DUE
            start = subscription.period_end if in_grace else now
            _charged(subscription, subscription.next_product or subscription.product, now, wall, start=start)
            state_event(subscription, "subscription.renewed", at=now, wall=wall)
    return subscription


def payment_refund(
    *, account: str, payment_ref: str, key: str, wanted: ReversalInput, now: datetime, wall: datetime
) -> tuple[SandboxRefund, bool]:
    """As `services.refund_create`; who gets all that he paid for the present period back has no subscription any more."""
    payment = SandboxPayment.objects.filter(account=account, pk=SandboxPayment.key_of(payment_ref)).first()
    own = payment.subscription if payment else None
    if payment is None or own is None:
        return refund_create(account=account, payment_ref=payment_ref, key=key, wanted=wanted, now=now, wall=wall)
    with _asked(account, own.ref, now, wall) as subscription:
        refund, created = refund_create(
            account=account, payment_ref=payment_ref, key=key, wanted=wanted, now=now, wall=wall
        )
        payment.refresh_from_db()
        present = payment.period_start == subscription.period_start and payment.refunded == payment.amount
        if created and present and not subscription.has_ended:
            revoke(subscription, at=now, wall=wall)
    return refund, created


def subscription_lock(*, account: str, ref: str, now: datetime, wall: datetime) -> SandboxSubscription:
    """The row under its lock, as it is at `now`. Raises Unknown."""
    mine = SandboxSubscription.objects.filter(account=account, pk=SandboxSubscription.key_of(ref))
    for subscription in lock_rows(mine):
        live(subscription, now=now, wall=wall)
        return subscription
    raise Unknown("no such subscription")


@contextmanager
def _asked(account: str, ref: str, now: datetime, wall: datetime) -> Iterator[SandboxSubscription]:
    """The row locked, and saved with what it waits for next; what is refused changes nothing."""
    with transaction.atomic():
        subscription = subscription_lock(account=account, ref=ref, now=now, wall=wall)
        yield subscription
        save(subscription)


def _purchase_lock(account: str, token: str, *, now: datetime, wall: datetime) -> SandboxSubscription:
    found = SandboxSubscription.objects.filter(account=account, purchase_token=token).first()
    if found is None:
        raise Unknown("no such purchase")
    return subscription_lock(account=account, ref=found.ref, now=now, wall=wall)


def _new(
    product: SandboxProduct, method: SandboxMethod, *, trial_days: int, paid: bool, now: datetime
) -> SandboxSubscription:
    """Not saved. `paid`: its first cycle is; else it is on trial, or about to be charged."""
    end = now + timedelta(days=trial_days)
    if paid:
        end = cycle_end(now, Cycle(product.cycle), product.every)
    return SandboxSubscription(
        account=product.account,
        product=product,
        method=method,
        status=Status.TRIAL if trial_days else Status.ACTIVE,
        anchor=now,
        cycles=1 if paid else 0,
        period_start=now,
        period_end=end,
        changed_at=now,
    )


def _tell_start(subscription: SandboxSubscription, now: datetime, wall: datetime) -> None:
    trial = subscription.status == Status.TRIAL
    state_event(subscription, "subscription.trial_started" if trial else "subscription.activated", at=now, wall=wall)


def _charged(
    subscription: SandboxSubscription,
    product: SandboxProduct,
    now: datetime,
    wall: datetime,
    *,
    start: datetime | None = None,
) -> None:
    """Raises Declined, with nothing changed."""
    if charge(subscription, product, start=start or now, at=now, wall=wall).status != PaymentStatus.SUCCEEDED:
        raise Declined("the card was declined")
