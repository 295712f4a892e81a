"""What becomes of a change of plan: applied, cancelled, taken back, given up. Under the subscription's lock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from payflow.core import outbox
from payflow.core.ids import uuid7
from payments.invoices import invoice_void
from payments.models import Invoice
from subscriptions.becoming import become, become_at_end
from subscriptions.billing import Source, current_period, period_record, truncate_period
from subscriptions.models import Checkout, Subscription, SubscriptionChange
from subscriptions.periods import Period
from subscriptions.state import subscription_update

Status = SubscriptionChange.Status


def change_apply(subscription: Subscription, change: SubscriptionChange, *, at: datetime) -> None:
    """From the quoted moment the subscription is what it was changed to. The caller holds its lock."""
    quote = change.quote
    become(subscription, change)
    since = change.effective_at
    fields: dict[str, Any] = {}
    if quote["period"] is not None:
        period = Period(*(datetime.fromisoformat(moment) for moment in quote["period"]))
        running = current_period(subscription, since)
        assert running is not None, "the end of a period closes the changes that wait within it"
        truncate_period(running, at=since)
        source = Source.TRIAL if running.source == Source.TRIAL else Source.CHANGE
        period_record(subscription, period, invoice=change.invoice, source=source, at=at)
        if quote["new_anchor"] and source != Source.TRIAL:
            fields = {"anchor": period.start, "current_period_start": period.start, "end_date": period.end}
    _applied(change, at)
    subscription_update(subscription, **fields)
    outbox.emit_all([change_fact("subscription.plan_changed", change)], at=at)


def change_apply_at_end(subscription: Subscription, change: SubscriptionChange, *, at: datetime) -> None:
    """The paid period is over: the next is the new plan's. A free plan has no end. The caller holds the lock."""
    fields = become_at_end(subscription, change)
    _applied(change, at)
    subscription_update(subscription, **fields)
    outbox.emit_all([change_fact("subscription.plan_changed", change)], at=at)


def change_cancel(change: SubscriptionChange, *, at: datetime) -> None:
    """An open change will not be: its invoice is void, its page closed. The caller holds the subscription's lock."""
    change.status, change.closed_at = Status.CANCELLED, at
    change.save()
    if change.invoice is None:
        return
    Checkout.objects.filter(invoice=change.invoice, status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN]).update(
        status=Checkout.Status.EXPIRED
    )
    if change.invoice.status in (Invoice.Status.DRAFT, Invoice.Status.OPEN):
        invoice_void(change.invoice, at=at)


def change_take_back(change: SubscriptionChange, *, at: datetime) -> None:
    """The subscriber doesn't want it any more. What an operator planned for the price isn't his to take back."""
    if change.reason != SubscriptionChange.Reason.PRICE_MOVE:
        change_cancel(change, at=at)
        _plan_again(change, lambda each: each.reason == SubscriptionChange.Reason.PRICE_MOVE, at=at)


def change_give_up(change: SubscriptionChange, *, at: datetime) -> SubscriptionChange | None:
    """It was not paid: what it had replaced at the end of the period, if anything, is planned again and returned."""
    change_cancel(change, at=at)
    return _plan_again(change, lambda each: each.effective == SubscriptionChange.Effective.PERIOD_END, at=at)


def open_change(subscription: Subscription) -> SubscriptionChange | None:
    return subscription.changes.filter(status=Status.OPEN).select_related("plan", "invoice").first()


def planned_close(subscription: Subscription, *, at: datetime) -> None:
    """The subscription ends: a change that waits for its payment or for the end of the period will not be."""
    if (change := open_change(subscription)) is not None:
        change_cancel(change, at=at)


def change_fact(type_: str, change: SubscriptionChange) -> outbox.Fact:
    """What is told of a change, whoever asked for it."""
    return outbox.Fact(
        type=type_,
        subject_type="subscription",
        subject_id=change.subscription_id,
        payload={
            "change": str(change.pk),
            "from_plan": str(change.from_plan_id),
            "plan": str(change.plan_id),
            "reason": change.reason,
            "effective_at": change.effective_at.isoformat(),
        },
    )


def _plan_again(
    change: SubscriptionChange, is_wanted: Callable[[SubscriptionChange], bool], *, at: datetime
) -> SubscriptionChange | None:
    """The newest wanted one of those that `change` had replaced, one after another, as a new row."""
    while (key := change.quote.get("replaces")) is not None:
        change = SubscriptionChange.objects.get(pk=key)
        if is_wanted(change):
            change.pk, change.status, change.closed_at, change.created_at = uuid7(), Status.OPEN, None, at
            change.save(force_insert=True)
            return change
    return None


def change_done(change: SubscriptionChange, *, at: datetime) -> None:
    """The provider has carried it out: its money names the plan that was asked for."""
    _applied(change, at)
    outbox.emit_all([change_fact("subscription.plan_changed", change)], at=at)


def _applied(change: SubscriptionChange, at: datetime) -> None:
    change.status, change.closed_at = Status.APPLIED, at
    change.save()
