"""Billing periods and their invoices: written together, under the subscription's lock."""

from __future__ import annotations

from datetime import datetime

from payments.invoices import invoice_draft
from payments.models import Invoice
from subscriptions.models import BillingPeriod, PeriodSource, Subscription
from subscriptions.periods import Period, period_at
from subscriptions.quotes import cycle_line
from subscriptions.state import unpaid_period

Source = BillingPeriod.Source


def bill_cycle(subscription: Subscription, *, source: PeriodSource, at: datetime) -> Invoice:
    """The period that follows the paid one and its draft invoice.

    Raises IntegrityError where the period is already billed (exclusion constraint).
    """
    period = unpaid_period(subscription)
    invoice = invoice_draft(
        user_id=subscription.user_id,
        subscription_id=subscription.pk,
        reason=Invoice.Reason.CYCLE,
        lines=[cycle_line(subscription, period)],
        period_start=period.start,
        period_end=period.end,
        at=at,
    )
    period_record(subscription, period, invoice=invoice, source=source, at=at)
    return invoice


def bill_first(subscription: Subscription, draft: Invoice | None, *, at: datetime) -> Invoice:
    """The first paid period, starting at `at`, on the checkout's draft (a new one where that was voided)."""
    period = first_period(subscription, at)
    if draft is not None and draft.status == Invoice.Status.DRAFT:
        draft.period_start, draft.period_end = period.start, period.end
        draft.save()
        draft.lines.update(period_start=period.start, period_end=period.end)
        invoice = draft
    else:
        invoice = invoice_draft(
            user_id=subscription.user_id,
            subscription_id=subscription.pk,
            reason=Invoice.Reason.CREATE,
            lines=[cycle_line(subscription, period)],
            period_start=period.start,
            period_end=period.end,
            at=at,
        )
    period_record(subscription, period, invoice=invoice, source=Source.CHECKOUT, at=at)
    return invoice


def first_period(subscription: Subscription, anchor: datetime) -> Period:
    return period_at(
        anchor, subscription.billing_cycle, 0, interval=subscription.billing_interval, tz=subscription.timezone
    )


def period_record(
    subscription: Subscription,
    period: Period,
    *,
    invoice: Invoice | None,
    source: PeriodSource,
    at: datetime,
) -> BillingPeriod:
    """The row that says what was billed or granted. Raises IntegrityError where it overlaps another."""
    return BillingPeriod.objects.create(
        subscription=subscription,
        start=period.start,
        end=period.end,
        cycle=subscription.billing_cycle,
        plan_id=subscription.plan_id,
        amount=invoice.total if invoice else 0,
        currency=subscription.currency,
        invoice=invoice,
        source=source,
        created_at=at,
    )


def open_invoice(subscription: Subscription) -> Invoice | None:
    """The one invoice of the subscription that waits for money, if any."""
    return Invoice.objects.filter(subscription=subscription, status=Invoice.Status.OPEN).order_by("created_at").first()


def supersede_periods(subscription: Subscription, invoice: Invoice, *, at: datetime) -> None:
    """Takes back the periods of an invoice that will not be paid as it stands."""
    BillingPeriod.objects.filter(subscription=subscription, invoice=invoice, superseded_at=None).update(
        superseded_at=at
    )
