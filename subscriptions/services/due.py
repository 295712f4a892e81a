"""The sweep of what is due: renewals, retries, ends. Claim, lease, intent, call, result.

A claim is one short transaction: rows nobody else holds (SKIP LOCKED), re-read under their lock, each in a savepoint of
its own, so that one bad row never stops a batch. What must be asked of a provider is asked after it commits.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction

from payflow.core import clock
from payflow.core.locks import claim_rows
from payments.invoices import invoice_issue, invoice_void, invoice_write_off
from payments.models import Invoice, PaymentTransaction
from payments.selectors import can_be_charged
from payments.services.charges import charge_intend, charge_resolve, charge_send
from subscriptions.billing import open_invoice, supersede_periods
from subscriptions.models import Checkout, Status, Subscription
from subscriptions.services.checkouts import checkout_open
from subscriptions.services.payment_requests import invoice_due, payment_page, payment_request
from subscriptions.services.settlement import SYSTEM
from subscriptions.services.subscribe import checkouts_close
from subscriptions.state import Action, next_action, subscription_move, subscription_update

#: While a call is under way the row is left alone; longer than any client waits for an answer.
LEASE = timedelta(minutes=5)
#: How long a row whose handling failed waits for its next turn.
BAD_ROW_PAUSE = timedelta(minutes=10)

log = logging.getLogger(__name__)


#: What is left to do with the provider once the claim has committed.
Errand = Callable[[], object]


def due_sweep(*, now: datetime, wall: datetime) -> int:
    """Takes one batch of due subscriptions and returns its size."""
    errands: list[Errand] = []
    with transaction.atomic():
        due = Subscription.objects.filter(next_action_at__lte=now).order_by("next_action_at").select_related("plan")
        batch = claim_rows(due, limit=settings.SWEEP_BATCH)
        for subscription in batch:
            errand = _claim(subscription, now)
            if errand is not None:
                errands.append(errand)
    for errand in errands:
        if clock.wall() >= wall + LEASE:
            break  # the provider is slow; what is left is no longer ours alone, and the next sweep asks about it
        try:
            errand()
        except Exception:
            # The intent is committed and leased: the next sweep asks the provider what became of it.
            log.exception("%s failed", errand)
    return len(batch)


def _claim(subscription: Subscription, now: datetime) -> Errand | None:
    try:
        with transaction.atomic():
            return _handle(subscription, now)
    except Exception:
        log.exception("subscription %s cannot be handled", subscription.pk)
        Subscription.objects.filter(pk=subscription.pk).update(next_action_at=now + BAD_ROW_PAUSE)
        return None


def _handle(subscription: Subscription, now: datetime) -> Errand | None:
    """Does what the row, read under its lock, waits for."""
    upcoming = next_action(subscription)
    if upcoming is None or upcoming.at > now:
        subscription_update(subscription)  # a lease that has run out with nothing left to do
        return None
    match upcoming.kind:
        case Action.EXPIRE_CHECKOUT:
            checkouts_close(subscription, Checkout.Status.EXPIRED, now=now)
            subscription_move(subscription, Status.EXPIRED, reason="checkout_expired", actor=SYSTEM, at=now)
        case Action.END:
            return _end(subscription, now)
        case Action.RENEW:
            return _renew(subscription, now)
        case Action.AWAIT_PROVIDER:
            return _page(payment_request(subscription, reason="renewal_not_seen", now=now))
        case Action.RETRY:
            return _retry(subscription, now)
        case Action.SUSPEND:
            subscription_move(
                subscription, Status.SUSPENDED, reason="dunning_ended", actor=SYSTEM, at=now, suspended_at=now
            )
        case Action.CANCEL_SUSPENDED:
            _give_up(subscription, now)
    return None


def _end(subscription: Subscription, now: datetime) -> Errand | None:
    """The paid time of what doesn't renew is over: cancelled where somebody cancelled it, else expired.

    Where a renewal was under way when that was decided, its outcome comes first: what is paid is kept to its end.
    """
    invoice = open_invoice(subscription)
    if invoice is not None:
        if (pending := _pending_charge(invoice)) is not None:
            subscription_update(subscription, lease_until=now + LEASE)
            return partial(charge_resolve, transaction_id=pending, at=now)
        supersede_periods(subscription, invoice, at=now)
        invoice_void(invoice, at=now)
    cancelled = subscription.cancelled_at is not None
    to, reason = (Status.CANCELLED, "cancelled") if cancelled else (Status.EXPIRED, "not_renewed")
    subscription_move(subscription, to, reason=reason, actor=SYSTEM, at=now)
    return None


def _renew(subscription: Subscription, now: datetime) -> Errand | None:
    invoice = open_invoice(subscription)
    if invoice is not None and (pending := _pending_charge(invoice)) is not None:
        subscription_update(subscription, lease_until=now + LEASE)
        return partial(charge_resolve, transaction_id=pending, at=now)
    method = subscription.payment_method
    if subscription.status == Status.TRIAL and method is None:
        subscription_move(subscription, Status.EXPIRED, reason="trial_ended", actor=SYSTEM, at=now)
        return None
    if not can_be_charged(method):
        return _page(payment_request(subscription, reason="no_payment_method", now=now))
    return _charge(subscription, invoice_due(subscription, now=now), now)


def _charge(subscription: Subscription, invoice: Invoice, now: datetime) -> Errand:
    """The intent: lease, pending charge, and the invoice's number as the last lock of the transaction."""
    assert subscription.payment_method is not None
    subscription_update(subscription, lease_until=now + LEASE)
    is_new = invoice.status == Invoice.Status.DRAFT
    if is_new:
        invoice_issue(invoice, at=now)
    charge = charge_intend(invoice=invoice, method=subscription.payment_method, at=now)
    return partial(charge_send, transaction_id=charge.pk, at=now)


def _retry(subscription: Subscription, now: datetime) -> Errand | None:
    """One scheduled retry of the open invoice: a charge, or a fresh link where nothing can be charged."""
    invoice = open_invoice(subscription)
    if invoice is None:
        log.error("subscription %s is past due without an open invoice", subscription.pk)
        subscription_update(subscription, dunning_step=len(settings.DUNNING_DAYS))
        return None
    if (pending := _pending_charge(invoice)) is not None:
        subscription_update(subscription, lease_until=now + LEASE)
        return partial(charge_resolve, transaction_id=pending, at=now)
    subscription.dunning_step += 1
    method = subscription.payment_method
    if can_be_charged(method):
        return _charge(subscription, invoice, now)
    subscription_update(subscription)
    return _page(payment_page(subscription, invoice, now=now))


def _give_up(subscription: Subscription, now: datetime) -> None:
    invoice = open_invoice(subscription)
    checkouts_close(subscription, Checkout.Status.EXPIRED, now=now)
    subscription_move(subscription, Status.CANCELLED, reason="unpaid", actor=SYSTEM, at=now, cancelled_at=now)
    if invoice is not None:
        supersede_periods(subscription, invoice, at=now)
        invoice_write_off(invoice, at=now)


def _page(checkout: Checkout | None) -> Errand | None:
    return partial(checkout_open, checkout_id=checkout.pk) if checkout else None


def _pending_charge(invoice: Invoice) -> uuid.UUID | None:
    return (
        PaymentTransaction.objects.filter(
            invoice=invoice, type=PaymentTransaction.Type.CHARGE, status=PaymentTransaction.Status.PENDING
        )
        .values_list("pk", flat=True)
        .first()
    )
