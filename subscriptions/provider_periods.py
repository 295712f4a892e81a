"""Periods that a provider chose. Whatever the order of its news, the rows come out the same.

A row ends where the next one begins: a purchase in the middle of a period (an upgrade in a store) ends it there, and what
is heard of later is cut at what begun after it.
"""

from __future__ import annotations

from datetime import datetime

from payments.models import Invoice
from subscriptions.billing import period_record, truncate_period
from subscriptions.models import BillingPeriod, PeriodSource, Subscription
from subscriptions.periods import Period


def period_place(
    subscription: Subscription,
    period: Period,
    *,
    invoice: Invoice | None,
    source: PeriodSource,
    not_after: datetime | None,
    at: datetime,
) -> BillingPeriod | None:
    """Records the period as far as nothing later begins in it and it does not pass `not_after`. None where that is nothing.

    The caller holds the subscription's lock.
    """
    rows = BillingPeriod.objects.filter(subscription=subscription, superseded_at=None)
    under_way = rows.filter(start__lt=period.start, end__gt=period.start).first()
    following = rows.filter(start__gte=period.start).order_by("start").first()
    ends = [moment for moment in (period.end, following.start if following else None, not_after) if moment is not None]
    end = min(ends)
    if end <= period.start:
        return None
    if under_way is not None:
        truncate_period(under_way, at=period.start, superseded_at=at)
    return period_record(subscription, Period(period.start, end), invoice=invoice, source=source, at=at)


def periods_cut(subscription: Subscription, *, end: datetime, at: datetime) -> None:
    """Nothing is granted from `end` on."""
    rows = BillingPeriod.objects.filter(subscription=subscription, superseded_at=None)
    for row in rows.filter(start__lt=end, end__gt=end):
        truncate_period(row, at=end, superseded_at=at)
    rows.filter(start__gte=end).update(superseded_at=at)


def first_period(subscription: Subscription) -> BillingPeriod | None:
    """The first that was billed or granted."""
    return BillingPeriod.objects.filter(subscription=subscription, superseded_at=None).order_by("start").first()


def latest_period(subscription: Subscription) -> BillingPeriod | None:
    """The last that was billed or granted."""
    rows = BillingPeriod.objects.filter(subscription=subscription, superseded_at=None)
    return rows.select_related("plan").order_by("-start").first()
