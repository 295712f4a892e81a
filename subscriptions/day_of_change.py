"""Whose a day is on which something changes, where a cycle is divided by days: it costs the dearest that was had on it.

Were it always that of what comes after, a cheaper plan taken before each midnight and left after it would cost its own price
for the days of the dearer one. By seconds there is no such question: the moment of the change divides.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from payflow.core.money import Money
from payments.models import Invoice
from plans.models import Plan
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.proration import Unit, day_of
from subscriptions.quotes import per_month
from subscriptions.unused import Unused, charge_line, charged_span, worth


def change_divide(
    subscription: Subscription, row: BillingPeriod, *, plan: Plan, price: Money, unit: Unit, at: datetime
) -> tuple[list[tuple[Plan, Unused]], datetime]:
    """What a change at `at`, in `row`, gives back of which plan, and from when on `plan` is charged in the same cycle."""
    tz = subscription.timezone
    if unit == "second":
        return [(row.plan, worth(row, since=at, until=row.end, unit=unit, tz=tz))], at
    tomorrow = day_of(at, tz=tz).end
    dearest = day_paid(subscription, at)
    if dearest is None or _rate(plan, price) >= _rate_of(dearest):
        left = [(row.plan, worth(row, since=at, until=row.end, unit=unit, tz=tz))]
        if dearest is not None and dearest.pk != row.pk:  # today was paid for before `row`
            left.insert(0, (dearest.plan, worth(dearest, since=at, until=tomorrow, unit=unit, tz=tz)))
        return left, at
    since = tomorrow if dearest.pk == row.pk else at
    return [(row.plan, worth(row, since=since, until=row.end, unit=unit, tz=tz))], tomorrow


def day_paid(subscription: Subscription, at: datetime) -> BillingPeriod | None:
    """What the day of `at` is paid with: the dearest of the periods that it has been had of, of like ones the latest."""
    zone = ZoneInfo(subscription.timezone)
    today = at.astimezone(zone).date()
    since = day_of(at, tz=subscription.timezone).start
    rows = BillingPeriod.objects.filter(
        subscription=subscription,
        superseded_at=None,
        start__lte=at,
        end__gt=since,
        invoice__status=Invoice.Status.PAID,
    )
    paid = []
    for row in rows.select_related("invoice", "plan").prefetch_related("invoice__lines").order_by("-start"):
        span = charged_span(row)
        if span.start.astimezone(zone).date() <= today < span.end.astimezone(zone).date():
            paid.append(row)
    return max(paid, key=_rate_of, default=None)


def _rate_of(row: BillingPeriod) -> Fraction:
    line = charge_line(row)
    return _rate(row.plan, Money(line.unit_amount, line.currency)) if line else Fraction(0)


def _rate(plan: Plan, price: Money) -> Fraction:
    return per_month(Fraction(price.amount), plan.billing_cycle, plan.billing_interval)
