"""Ending what is live, now: its periods, its open invoice, its pages, what was planned for it. Under the subscription's lock."""

from __future__ import annotations

from datetime import datetime

from payments.invoices import invoice_void
from subscriptions.billing import current_period, open_invoice, supersede_periods, truncate_period
from subscriptions.models import BillingPeriod, Checkout, CommandKind, Status, Subscription
from subscriptions.services.changes import planned_close
from subscriptions.services.provider_managed import provider_told
from subscriptions.services.subscribe import checkouts_close
from subscriptions.state import subscription_move


def end_now(subscription: Subscription, *, reason: str, actor: str, at: datetime) -> None:
    """Cancels at this moment. What was paid stays paid: who gives something back does so before, or instead."""
    planned_close(subscription, at=at)
    provider_told(subscription, CommandKind.CANCEL_NOW, actor=actor, at=at)
    checkouts_close(subscription, Checkout.Status.EXPIRED, now=at)
    invoice = open_invoice(subscription)
    if invoice is not None:
        supersede_periods(subscription, invoice, at=at)
        invoice_void(invoice, at=at)
    periods_end(subscription, at=at)
    end = subscription.end_date
    subscription_move(
        subscription,
        Status.CANCELLED,
        reason=reason,
        actor=actor,
        at=at,
        cancelled_at=subscription.cancelled_at or at,
        end_date=max(min(end, at), subscription.start_date) if end else max(at, subscription.start_date),
        grace_until=None,
        paused_at=None,
        resumes_at=None,
    )


def periods_end(subscription: Subscription, *, at: datetime) -> None:
    """The period under way ends now; what was paid ahead (a provider may renew before the end) is not lived any more."""
    running = current_period(subscription, at)
    if running is not None:
        truncate_period(running, at=at)
    BillingPeriod.objects.filter(subscription=subscription, superseded_at=None, start__gt=at).update(superseded_at=at)
