"""The sweep of what is due: renewals, retries, ends. Claim, lease, intent, call, result.

A claim is one short transaction: rows nobody else holds (SKIP LOCKED), read under their lock. Plain renewals are written as a
set in it (`renewals`); what is anything else is leased and handled row by row, looked at again under its lock, each in a
transaction of its own. So one bad row never stops a batch. What must be asked of a provider is asked after a commit.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction

from payflow.core import clock, outbox
from payments.invoices import invoice_void, invoice_write_off
from payments.selectors import can_be_charged
from payments.services.charges import charge_resolve
from subscriptions.billing import Source, bill_cycle, open_invoice, supersede_periods
from subscriptions.locks import subscription_lock, subscriptions_claim
from subscriptions.models import Checkout, Status, Subscription, SubscriptionChange
from subscriptions.services.changes import change_apply_at_end, change_give_up, open_change, planned_close
from subscriptions.services.collecting import (
    LEASE,
    Errand,
    charge_under_way,
    collect,
    page_errand,
    payment_page,
    payment_request,
)
from subscriptions.services.missed import missed_periods_settle
from subscriptions.services.move_closing import move_offer_close
from subscriptions.services.pauses import resume
from subscriptions.services.reconciliation import can_be_asked, subscription_reconcile
from subscriptions.services.renewals import renewals_collect, renewals_intend
from subscriptions.services.subscribe import checkouts_close
from subscriptions.services.unused_refunds import unserved_credit_grant
from subscriptions.state import (
    SYSTEM,
    Action,
    next_action,
    subscription_move,
    subscription_update,
    subscriptions_lease,
)

#: How long a row whose handling failed waits for its next turn.
BAD_ROW_PAUSE = timedelta(minutes=10)

#: A charge that its provider can't tell of for so long (real time) is an operator's to look at; it goes on being asked about.
UNANSWERED = timedelta(days=1)
NO_ANSWER = "a payment has had no answer for a day"

#: A provider that knows of no renewal either is asked again after so long; it retries its own payments meanwhile.
ASK_AGAIN = timedelta(hours=6)

log = logging.getLogger(__name__)


def due_sweep(*, now: datetime, wall: datetime) -> int:
    """Takes one batch of due subscriptions and returns its size."""
    deadline = wall + LEASE
    with transaction.atomic():
        batch = subscriptions_claim(due=now, limit=settings.SWEEP_BATCH)
        charges, others = renewals_intend(batch, now=now)
        subscriptions_lease(others, now + LEASE)
    renewals_collect(charges, now=now, deadline=deadline)
    for subscription in others:
        if clock.wall() >= deadline:
            break  # the provider is slow; what is left is no longer ours alone, and the next sweep takes it
        _take(subscription.pk, now, wall)
    return len(batch)


def _take(subscription_id: uuid.UUID, now: datetime, wall: datetime) -> None:
    """One leased row, in a transaction of its own: it holds no other row's locks, and its fault is nobody else's."""
    try:
        with transaction.atomic():
            errand = _handle(subscription_lock(subscription_id), now, wall)
    except Exception:
        log.exception("subscription %s cannot be handled", subscription_id)
        Subscription.objects.filter(pk=subscription_id).update(next_action_at=now + BAD_ROW_PAUSE)
        return
    if errand is None:
        return
    try:
        errand()
    except Exception:
        # The intent is committed and leased: the next sweep asks the provider what became of it.
        log.exception("%s failed", errand)


def _handle(subscription: Subscription, now: datetime, wall: datetime) -> Errand | None:
    """Does what the row, read under its lock, waits for."""
    upcoming = next_action(subscription)
    if upcoming is None or upcoming.at > now:
        subscription_update(subscription)  # a lease that has run out with nothing left to do
        return None
    if upcoming.kind in _MOVES_MONEY and (pending := charge_under_way(subscription)) is not None:
        # Its outcome comes first: what is paid is kept to its end.
        review = {"review_reason": NO_ANSWER} if pending.recorded_at < wall - UNANSWERED else {}
        subscription_update(subscription, lease_until=now + LEASE, **review)
        return partial(charge_resolve, transaction_id=pending.pk, at=now)
    match upcoming.kind:
        case Action.EXPIRE_CHECKOUT:
            checkouts_close(subscription, Checkout.Status.EXPIRED, now=now)
            subscription_move(subscription, Status.EXPIRED, reason="checkout_expired", actor=SYSTEM, at=now)
        case Action.ANNOUNCE_TRIAL_END:
            _announce_trial_end(subscription, now)
            return _handle(subscription, now, wall)  # after our own downtime the end may have come too
        case Action.END:
            _end(subscription, now)
        case Action.RENEW:
            return _renew(subscription, now, wall)
        case Action.AWAIT_PROVIDER:
            return _await_provider(subscription, now)
        case Action.RETRY:
            return _retry(subscription, now)
        case Action.SUSPEND:
            subscription_move(
                subscription, Status.SUSPENDED, reason="dunning_ended", actor=SYSTEM, at=now, suspended_at=now
            )
        case Action.CANCEL_SUSPENDED:
            _give_up(subscription, now)
        case Action.RESUME:
            return resume(subscription, now=now)
    return None


_MOVES_MONEY = frozenset({Action.END, Action.RENEW, Action.RETRY, Action.RESUME, Action.CANCEL_SUSPENDED})


def _await_provider(subscription: Subscription, now: datetime) -> Errand | None:
    """The provider's renewal was not seen: it is asked, where it can be; where it can't, the subscriber is."""
    if not can_be_asked(subscription):
        return page_errand(payment_request(subscription, reason="renewal_not_seen", now=now))
    subscription_update(subscription, lease_until=now + ASK_AGAIN)
    return partial(subscription_reconcile, subscription_id=subscription.pk, now=now)


def _announce_trial_end(subscription: Subscription, now: datetime) -> None:
    assert subscription.trial_ends_at is not None
    subscription_update(subscription, trial_notified_at=now)
    if subscription.trial_ends_at <= now:
        return  # too late for a notice
    outbox.emit(
        type="subscription.trial_ending",
        subject_type="subscription",
        subject_id=subscription.pk,
        payload={
            "trial_ends_at": subscription.trial_ends_at.isoformat(),
            "will_be_charged": subscription.payment_method_id is not None,
        },
        at=now,
    )


def _end(subscription: Subscription, now: datetime) -> None:
    """The paid time of what doesn't renew is over: cancelled where somebody cancelled it, else expired."""
    planned_close(subscription, at=now)
    move_offer_close(subscription, reason="it has ended", at=now)
    invoice = open_invoice(subscription)
    if invoice is not None:
        supersede_periods(subscription, invoice, at=now)
        invoice_void(invoice, at=now)
    cancelled = subscription.cancelled_at is not None
    to, reason = (Status.CANCELLED, "cancelled") if cancelled else (Status.EXPIRED, "not_renewed")
    subscription_move(subscription, to, reason=reason, actor=SYSTEM, at=now)


def _renew(subscription: Subscription, now: datetime, wall: datetime) -> Errand | None:
    if subscription.status == Status.TRIAL and subscription.payment_method is None:
        planned_close(subscription, at=now)
        subscription_move(subscription, Status.EXPIRED, reason="trial_ended", actor=SYSTEM, at=now)
        return None
    change = open_change(subscription)
    if change is not None and change.effective == SubscriptionChange.Effective.ON_PAYMENT:
        change = change_give_up(change, at=now)  # the period in which it was to be paid is over
    invoice = open_invoice(subscription)
    if invoice is None:
        if change is not None and change.effective == SubscriptionChange.Effective.PERIOD_END:
            change_apply_at_end(subscription, change, at=now)
            if subscription.is_free:
                return None
        if not missed_periods_settle(subscription, now=now, wall=wall):
            return None
        invoice = bill_cycle(subscription, source=Source.RENEWAL, at=now)
    return collect(subscription, invoice, now=now)


def _retry(subscription: Subscription, now: datetime) -> Errand | None:
    """One scheduled retry of the open invoice: a charge, or a fresh link where nothing can be charged."""
    invoice = open_invoice(subscription)
    if invoice is None:
        log.error("subscription %s is past due without an open invoice", subscription.pk)
        subscription_update(subscription, dunning_step=len(settings.DUNNING_DAYS))
        return None
    subscription.dunning_step += 1
    if can_be_charged(subscription.payment_method):
        return collect(subscription, invoice, now=now)
    subscription_update(subscription)
    return page_errand(payment_page(subscription, invoice, now=now))


def _give_up(subscription: Subscription, now: datetime) -> None:
    invoice = open_invoice(subscription)
    planned_close(subscription, at=now)
    checkouts_close(subscription, Checkout.Status.EXPIRED, now=now)
    subscription_move(subscription, Status.CANCELLED, reason="unpaid", actor=SYSTEM, at=now, cancelled_at=now)
    if invoice is not None:
        supersede_periods(subscription, invoice, at=now)
        invoice_write_off(invoice, at=now)
        unserved_credit_grant(subscription, invoice, at=now)
