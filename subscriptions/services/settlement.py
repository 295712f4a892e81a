"""What money does to subscriptions. Called by `payments` inside the transaction that moved the money."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings

from payflow.core import outbox
from payflow.core.locks import lock_keys
from payflow.core.money import Money
from payments.backing import LOST, backing_of
from payments.invoices import invoice_void
from payments.models import Invoice, PaymentTransaction
from payments.settlement import Declined, Settled, Unsent
from subscriptions.billing import (
    Source,
    first_period,
    open_invoice,
    period_record,
    periods_ahead,
    supersede_periods,
)
from subscriptions.locks import subscription_lock, subscriptions_lock
from subscriptions.models import BillingPeriod, Checkout, Status, Subscription, SubscriptionChange
from subscriptions.services.changes import change_apply, change_give_up, open_change
from subscriptions.services.ending import end_now
from subscriptions.services.redemptions import redemption_used, redemptions_of
from subscriptions.services.unused_refunds import (
    DISPUTED,
    ended_grant,
    ended_remember,
    shut_out_end,
    shut_out_grant,
    shut_out_since,
    unused_parts,
    unused_parts_grant,
)
from subscriptions.state import (
    SYSTEM,
    dunning_start,
    grace_end,
    is_priced_by_provider,
    renews,
    subscription_move,
    subscription_update,
    subscriptions_write,
    unpaid_period,
)
from subscriptions.unused import Gone, Unused, is_backed, paid_by

#: What a payment clears, on whatever it settles.
_CLEARED: dict[str, Any] = {"grace_until": None, "suspended_at": None, "dunning_from": None, "dunning_step": 0}


def lock(subscription_ids: Collection[uuid.UUID]) -> None:
    lock_keys(Subscription.objects.filter(pk__any=subscription_ids))


def on_paid(settled: Sequence[Settled], *, at: datetime) -> None:
    """Invoices of periods are settled: their subscriptions run to the ends of these. Invoices of changes: they happen.

    Renewals of what is active are written as a set; whatever else money may do, row by row.
    """
    settled = [each for each in settled if each.invoice.subscription_id is not None]
    invoices = [each.invoice.pk for each in settled]
    rows = subscriptions_lock({each.invoice.subscription_id for each in settled if each.invoice.subscription_id})
    subscriptions = {row.pk: row for row in rows}
    periods = {row.invoice_id: row for row in BillingPeriod.objects.filter(invoice__any=invoices, superseded_at=None)}
    # What else was offered to pay it with is open no more; who pays there all the same has paid twice.
    Checkout.objects.filter(
        invoice__any=invoices,
        purpose=Checkout.Purpose.INVOICE,
        status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN],
    ).update(status=Checkout.Status.SUPERSEDED)
    renewed: list[tuple[Settled, BillingPeriod]] = []
    for each in settled:
        assert each.invoice.subscription_id is not None
        subscription, period = subscriptions[each.invoice.subscription_id], periods.get(each.invoice.pk)
        if each.invoice.reason == Invoice.Reason.CHANGE:
            _change_paid(subscription, each, at)
        elif period is None:
            continue
        elif subscription.status == Status.ACTIVE:
            renewed.append((each, period))
        else:
            _started(subscription, each, period, at)
    _renewed(renewed, subscriptions, at)
    _count_discounts(settled)


def _count_discounts(settled: Sequence[Settled]) -> None:
    """An invoice that a coupon lowered uses one of its cycles up; that of a change within a cycle belongs to its cycle."""
    lowered = [each.invoice for each in settled if each.invoice.discount]
    in_cycle = SubscriptionChange.objects.filter(
        invoice__in=[invoice.pk for invoice in lowered if invoice.reason == Invoice.Reason.CHANGE],
        quote__new_anchor=False,
    )
    skipped = set(in_cycle.values_list("invoice_id", flat=True))
    counted = [invoice.subscription_id for invoice in lowered if invoice.pk not in skipped and invoice.subscription_id]
    redemption_used(list(redemptions_of(counted).values()))


def _renewed(pairs: Sequence[tuple[Settled, BillingPeriod]], subscriptions: Any, at: datetime) -> None:
    """The next periods of what is active."""
    rows = []
    for settled, period in pairs:
        subscription = subscriptions[period.subscription_id]
        _run_to(subscription, settled.transaction, period)
        rows.append(subscription)
    subscriptions_write(rows, ["current_period_start", "end_date", "payment_method", *_CLEARED])
    outbox.emit_all([_renewal(settled, period) for settled, period in pairs], at=at)


def _started(subscription: Subscription, settled: Settled, period: BillingPeriod, at: datetime) -> None:
    """What was not active becomes it: bought, tried, recovered or resumed."""
    # Paid after access had ended: the subscriber gets a whole period from now, on a new anchor. Not while it is active:
    # then we, or the news, are late, and periods are billed one after another.
    restarts = subscription.status == Status.SUSPENDED or (subscription.status == Status.PAST_DUE and period.end <= at)
    if restarts:
        supersede_periods(subscription, settled.invoice, at=at)
        period = period_record(
            subscription, first_period(subscription, at), invoice=settled.invoice, source=Source.RESUME, at=at
        )
    first = subscription.status in (Status.PENDING, Status.EXPIRED, Status.CANCELLED)
    fields: dict[str, Any] = {}
    if first:
        fields = {"start_date": period.start, "cancelled_at": None, "auto_renew": True}
    if first or restarts:
        fields["anchor"] = period.start
    if subscription.status == Status.PAUSED:
        fields |= {"paused_at": None, "resumes_at": None}
    reasons = {Status.TRIAL: "renewed", Status.PAUSED: "resumed"}
    reason = "paid" if first else reasons.get(Status(subscription.status), "recovered")
    _run_to(subscription, settled.transaction, period)
    subscription_move(subscription, Status.ACTIVE, reason=reason, actor=SYSTEM, at=at, **fields)
    if not first:
        outbox.emit_all([_renewal(settled, period)], at=at)


def _run_to(subscription: Subscription, transaction: PaymentTransaction | None, period: BillingPeriod) -> None:
    subscription.current_period_start = period.start
    subscription.end_date = period.end
    for name, value in _CLEARED.items():
        setattr(subscription, name, value)
    if transaction is not None and transaction.method_id is not None:
        subscription.payment_method_id = transaction.method_id


def _renewal(settled: Settled, period: BillingPeriod) -> outbox.Fact:
    return outbox.Fact(
        type="subscription.renewed",
        subject_type="subscription",
        subject_id=period.subscription_id,
        payload={"invoice": str(settled.invoice.pk), "period_end": period.end.isoformat()},
    )


def _change_paid(subscription: Subscription, settled: Settled, at: datetime) -> None:
    change = SubscriptionChange.objects.filter(invoice=settled.invoice, status=SubscriptionChange.Status.OPEN).first()
    assert change is not None, "the invoice of a change that is closed is void"
    if settled.transaction is not None and settled.transaction.method_id is not None:
        subscription.payment_method_id = settled.transaction.method_id
    change_apply(subscription, change, at=at)


def on_failed(declined: Sequence[Declined], *, at: datetime) -> None:
    """Charges were declined: grace begins. What can't succeed (a hard decline) isn't tried again on schedule."""
    declined = [
        each for each in declined if each.invoice.status == Invoice.Status.OPEN and each.invoice.subscription_id
    ]
    rows = subscriptions_lock({each.invoice.subscription_id for each in declined if each.invoice.subscription_id})
    subscriptions = {row.pk: row for row in rows}
    for each in declined:
        assert each.invoice.subscription_id is not None
        _declined(subscriptions[each.invoice.subscription_id], each, at)


def _declined(subscription: Subscription, declined: Declined, at: datetime) -> None:
    if declined.invoice.reason == Invoice.Reason.CHANGE:
        if declined.transaction.metadata.get("action_url"):
            return  # its payer may still confirm it: until the period ends, or he asks for something else
        change = SubscriptionChange.objects.filter(invoice=declined.invoice, status=SubscriptionChange.Status.OPEN)
        if (row := change.first()) is not None:
            change_give_up(row, at=at)
        return
    if declined.invoice.reason == Invoice.Reason.USAGE:
        _usage_declined(subscription, declined, at)
        return  # it has retries of its own, and its period is over
    steps: dict[str, Any] = {} if declined.transaction.recoverable else {"dunning_step": len(settings.DUNNING_DAYS)}
    if subscription.status == Status.PAST_DUE:
        subscription_update(subscription, **steps)
    elif subscription.status in (Status.TRIAL, Status.ACTIVE, Status.PAUSED):
        if renews(subscription):
            fall_past_due(subscription, reason="payment_failed", at=at, **steps)
        else:
            if subscription.status == Status.PAUSED:  # the resume was not: a later one bills from its own moment
                supersede_periods(subscription, declined.invoice, at=at)
                invoice_void(declined.invoice, at=at)
            subscription_update(subscription)  # cancelled while the charge was under way: it ends, no grace begins


def _usage_declined(subscription: Subscription, declined: Declined, at: datetime) -> None:
    """Told once for each invoice: the first time."""
    failed = PaymentTransaction.objects.filter(invoice=declined.invoice, status=PaymentTransaction.Status.FAILED)
    if not failed.exclude(pk=declined.transaction.pk).exists():
        outbox.emit(
            type="subscription.usage_unpaid",
            subject_type="subscription",
            subject_id=subscription.pk,
            payload={"invoice": str(declined.invoice.pk), "payment": str(declined.transaction.pk)},
            at=at,
        )


def unwanted(charges: Sequence[Unsent]) -> set[uuid.UUID]:
    """Of charges that never left, those for a further period of what ends, or is disputed, meanwhile.

    What is past due is paid because somebody asks for it, or by a retry that a cancel has voided the invoice of.
    """
    further = [each for each in charges if each.invoice_reason == Invoice.Reason.CYCLE]
    rows = Subscription.objects.filter(pk__any={each.subscription_id for each in further} - {None})
    running = rows.filter(status__in=[Status.TRIAL, Status.ACTIVE, Status.PAUSED])
    ending = {row.pk for row in running.only("cancelled_at", "auto_renew", "disputed_at") if not renews(row)}
    return {each.key for each in further if each.subscription_id in ending}


def fall_past_due(subscription: Subscription, *, reason: str, at: datetime, **fields: Any) -> None:
    """The period's invoice is open and unpaid. The caller holds the lock."""
    since = dunning_start(subscription, at)
    subscription_move(
        subscription,
        Status.PAST_DUE,
        reason=reason,
        actor=SYSTEM,
        at=at,
        dunning_from=since,
        grace_until=grace_end(subscription, since),
        paused_at=None,
        resumes_at=None,
        **fields,
    )


def on_refunded(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    """A refund of a payment of the period under way ends access now where the setting says so: a full one, not a partial."""
    _unbacked_change_give_up(charge, at)
    full = charge.status == PaymentTransaction.Status.REFUNDED
    if (settings.FULL_REFUND if full else settings.PARTIAL_REFUND) != "cancel":
        return
    if is_priced_by_provider(charge.provider):
        return  # what a refund ends, the provider says (revoked, expired), and when
    _end_paid_by(charge, reversal, full=full, at=at)


def on_refund_amiss(*, charge: PaymentTransaction, reason: str, at: datetime) -> None:
    """Somebody is owed what did not go back, or has more than he asked for, whenever that is heard: an operator has to look."""
    if charge.subscription_id is not None and charge.invoice_id is not None:
        subscription_update(subscription_lock(charge.subscription_id), review_reason=reason)


def on_refund_reversed(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    """The unused time that has ended with the refund becomes credit: he may live elsewhere by now.

    Where the provider sets price and periods the refund had ended nothing here, and its next state says how it goes on.
    """
    if charge.subscription_id is None:
        return
    subscription = subscription_lock(charge.subscription_id)
    ended_grant(reversal, reason=f"Unused time of {subscription.plan.name}", at=at)


def _unbacked_change_give_up(charge: PaymentTransaction, at: datetime) -> None:
    """A change that waits to be paid was quoted with unused time whose payment has gone back since: it is quoted anew."""
    if charge.subscription_id is None or charge.invoice_id is None:
        return
    change = open_change(subscription_lock(charge.subscription_id))
    if change is not None and change.invoice is not None and not is_backed(change.invoice):
        change_give_up(change, at=at)


def _end_paid_by(charge: PaymentTransaction, reversal: PaymentTransaction, *, full: bool, at: datetime) -> None:
    """Ends now what the charge helped to pay for, where it is still running or yet to come.

    The payment of its own invoice did, and so did those whose unused time was carried over into that by a change of plan.
    After a full refund, what is unused of what the others of them and credit have paid comes back as credit; who refunds a
    part and lets that end access has decided what goes back.
    """
    if charge.subscription_id is None or charge.invoice_id is None:
        return  # it was never applied to anything
    subscription = subscription_lock(charge.subscription_id)
    ahead = [row.invoice for row in periods_ahead(subscription, at) if row.invoice]
    if not subscription.is_live or not _carries(charge, ahead):
        return
    # What a dispute may still take is credit too, and held: nobody knows yet whose it is.
    left = unused_parts(subscription, at, Gone(won=True)) if full else []
    unrefunded = unused_parts(subscription, at, Gone(won=True, but=reversal))
    if full:
        shut_out_end(subscription, at=at)
    end_now(subscription, reason="refunded", actor=SYSTEM, at=at)
    unused_parts_grant(subscription, left, key=f"refund:{reversal.pk}", at=at)
    _remember_ended(reversal, unrefunded, left)


def _carries(charge: PaymentTransaction, ahead: Sequence[Invoice]) -> bool:
    """Did the charge pay for one of the invoices, by itself, by a change of plan, or by credit that has nothing behind it now?"""
    if charge.invoice_id in {each.pk for invoice in ahead for each in paid_by(invoice)}:
        return True
    if charge.invoice_id is None or not any(invoice.credit for invoice in ahead):
        return False
    backing = backing_of(charge.user_id, charge.currency, gone=LOST)
    lost = [invoice.pk for invoice in ahead if backing.has_lost_credit(invoice.pk)]
    return any(backing.is_after(invoice_id, charge.invoice_id) for invoice_id in lost)


def _remember_ended(reversal: PaymentTransaction, unrefunded: Sequence[Unused], left: Sequence[Unused]) -> None:
    """What of the time that the refund ended was its own: should it come back, that becomes credit."""
    granted = {part.since: part.gross for part in left}
    worth = [(part, part.gross - granted.get(part.since, Money.zero(part.gross.currency))) for part in unrefunded]
    ended_remember(reversal, [(part, gross) for part, gross in worth if gross.amount > 0])


def on_disputed(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    """A chargeback was opened, lost or won: what it does to access is a setting (CHARGEBACK_OPENED, CHARGEBACK_LOST).

    A dispute of any period's payment counts: who took that back takes the next one back too.
    """
    if charge.subscription_id is None or charge.invoice_id is None:
        return  # it was never applied to anything
    _unbacked_change_give_up(charge, at)
    subscription = subscription_lock(charge.subscription_id)
    lost = reversal.status == PaymentTransaction.Status.COMPLETED
    if reversal.status == PaymentTransaction.Status.PENDING:
        if settings.CHARGEBACK_OPENED != "nothing":
            _dispute_opened(subscription, at)
        return
    others = PaymentTransaction.objects.filter(
        subscription_id=subscription.pk,
        type=PaymentTransaction.Type.CHARGEBACK,
        status=PaymentTransaction.Status.PENDING,
        invoice__isnull=False,
    )
    over = subscription.disputed_at is not None and not others.exists()
    if over:
        subscription.disputed_at = None
    if lost and subscription.is_live and settings.CHARGEBACK_LOST == "cancel":
        end_now(subscription, reason="chargeback_lost", actor=SYSTEM, at=at)
    elif over:
        if not lost and (since := shut_out_since(subscription)) is not None:
            shut_out_grant(subscription, key=f"dispute:{reversal.pk}", since=since, at=at)
        _dispute_over(subscription, reason="dispute_lost" if lost else "dispute_won", at=at)


def _dispute_opened(subscription: Subscription, at: datetime) -> None:
    fields: dict[str, Any] = {"disputed_at": subscription.disputed_at or at}
    if settings.CHARGEBACK_OPENED == "suspend" and subscription.status in (Status.ACTIVE, Status.PAST_DUE):
        # Without `suspended_at` no timer of ours ends it: it waits for the dispute's end.
        fields["suspended_at"] = None
        subscription_move(subscription, Status.SUSPENDED, reason=DISPUTED, actor=SYSTEM, at=at, **fields)
    else:
        subscription_update(subscription, **fields)


def _dispute_over(subscription: Subscription, *, reason: str, at: datetime) -> None:
    """It goes on where it stood; what the dispute had suspended is let in again until the end of its paid time.

    Time in which it was suspended is never billed: what was paid for it has become credit where the dispute is won, and where
    the paid time is over a new period begins now. An invoice that was open before is asked for again while its period lasts,
    and waits to be paid as after any dunning where it is over.
    """
    if subscription.status != Status.SUSPENDED or subscription.suspended_at is not None:
        subscription_update(subscription)
        return
    fields: dict[str, Any] = {}
    if open_invoice(subscription) is not None:
        if unpaid_period(subscription).end <= at:
            subscription_update(subscription, suspended_at=at)
            return
    elif subscription.end_date is not None and subscription.end_date <= at and renews(subscription):
        fields = {"anchor": at, "end_date": at}
    subscription_move(subscription, Status.ACTIVE, reason=reason, actor=SYSTEM, at=at, **fields)
