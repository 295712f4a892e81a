"""Figures about plans, read from the rows that decide: never stored, never estimated."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Q, Sum

from payflow.core.money import round_amount
from payments.models import PaymentTransaction
from plans.models import Cycle, Plan
from subscriptions.models import LIVE, Status, Subscription, SubscriptionEvent

#: How many of a cycle make a year: monthly recurring revenue is a year's, divided by twelve.
PER_YEAR = {Cycle.DAILY: 365, Cycle.WEEKLY: 52, Cycle.MONTHLY: 12, Cycle.YEARLY: 1}
#: What brings money month by month: a trial doesn't yet, a pause doesn't now, what is suspended stopped paying.
RECURRING = frozenset({Status.ACTIVE, Status.PAST_DUE})
WINDOW = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """Money is by currency. `churn_rate` is the share of those live 30 days ago that have ended since; None without any."""

    subscriptions: dict[str, int]
    live: int
    started: int
    ended: int
    churn_rate: Decimal | None
    mrr: dict[str, Decimal]
    revenue: dict[str, Decimal]
    refunded: dict[str, Decimal]


def plan_figures(plan: Plan, *, now: datetime) -> PlanFigures:
    """The figures of one plan at `now`; `started` and `ended` count the last 30 days."""
    since = now - WINDOW
    rows = Subscription.objects.filter(plan=plan)
    by_status = dict(rows.values_list("status").annotate(count=Count("id")))
    live = sum(count for status, count in by_status.items() if status in LIVE)
    events = SubscriptionEvent.objects.filter(subscription__plan=plan, at__gt=since, at__lte=now)
    started = events.filter(from_status__in=["", Status.PENDING], to_status__in=LIVE).count()
    ended = events.filter(from_status__in=LIVE, to_status__in=[Status.CANCELLED, Status.EXPIRED]).count()
    before = live - started + ended
    return PlanFigures(
        subscriptions={status: by_status.get(status, 0) for status in Status.values},
        live=live,
        started=started,
        ended=ended,
        churn_rate=(Decimal(ended) / before).quantize(Decimal("0.0001")) if before > 0 else None,
        mrr=_mrr(plan),
        revenue=_money(plan, PaymentTransaction.Type.CHARGE),
        refunded=_money(plan, PaymentTransaction.Type.REFUND),
    )


def _mrr(plan: Plan) -> dict[str, Decimal]:
    """Added up as exact years, divided and rounded once."""
    yearly: dict[str, Decimal] = defaultdict(Decimal)
    recurring = Subscription.objects.filter(plan=plan, status__in=RECURRING, amount__gt=0, cancelled_at=None)
    sums = recurring.values_list("currency", "billing_cycle", "billing_interval").annotate(total=Sum("amount"))
    for currency, cycle, interval, total in sums:
        yearly[currency] += total * PER_YEAR[Cycle(cycle)] / interval
    return {currency: round_amount(total / 12, currency) for currency, total in sorted(yearly.items())}


def _money(plan: Plan, type_: str) -> dict[str, Decimal]:
    settled = Q(status__in=[PaymentTransaction.Status.COMPLETED, PaymentTransaction.Status.REFUNDED])
    rows = PaymentTransaction.objects.filter(settled, subscription__plan=plan, type=type_, invoice__isnull=False)
    sums = rows.values_list("currency").annotate(total=Sum("amount")).order_by("currency")
    return {currency: round_amount(total, currency) for currency, total in sums}
