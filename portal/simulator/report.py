"""What a run came to: a table by month, and totals. The same seed gives the same table."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from django.db import connection

from analytics.selectors import PER_YEAR
from payflow.core.money import round_amount
from plans.models import Cycle
from portal.simulator.catalogue import CURRENCIES

INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Month:
    """`mrr` is by currency, of what was paid for at the month's last instant; the rest is counted by business time."""

    name: str
    started: int
    ended: int
    paying: int
    invoices: int
    charges: int
    declined: int
    recovered: int
    refunds: int
    changed: int
    paused: int
    disputed: int
    mrr: dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class Report:
    subscribers: int
    months: list[Month]
    #: What happened on the way: refusals by code, calls that went wrong, deaths, deliveries for an operator.
    mishaps: dict[str, int]
    seconds: float = field(compare=False)

    def table(self) -> str:
        """Everything but the seconds."""
        titles = [*COLUMNS, *(f"MRR {currency}" for currency in CURRENCIES)]
        rows = [[month.name, *_counts(month), *(str(month.mrr[each]) for each in CURRENCIES)] for month in self.months]
        # People who pay at the end of one month pay at the end of the next: no sum.
        sums = [str(sum(getattr(month, name) for month in self.months)) for name in COUNTED]
        sums[COUNTED.index("paying")] = ""
        rows.append(["all", *sums, *("" for _ in CURRENCIES)])
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [titles, *rows]
        ]
        mishaps = ", ".join(f"{count} {name}" for name, count in sorted(self.mishaps.items()) if count)
        return "\n".join([*lines, "", f"{self.subscribers} subscribers; {mishaps or 'no mishaps'}"])


COUNTED = [
    "started",
    "ended",
    "paying",
    "invoices",
    "charges",
    "declined",
    "recovered",
    "refunds",
    "changed",
    "paused",
    "disputed",
]
COLUMNS = ["month", *COUNTED]


def report_make(
    *, provider: str, subscribers: int, start: datetime, months: int, mishaps: dict[str, int], seconds: float
) -> Report:
    """Reads the run's figures from its rows; only what was begun before the last month's end counts."""
    bounds = [month_after(start, number) for number in range(months + 1)]
    rows = [_month(provider, since, until) for since, until in pairwise(bounds)]
    (reviews,) = _row("SELECT count(*) FROM webhook_events WHERE provider = %(p)s AND status = 'review'", p=provider)
    return Report(subscribers, rows, {**mishaps, "deliveries for review": reviews}, seconds)


def month_after(start: datetime, count: int) -> datetime:
    year, month0 = divmod(start.year * 12 + start.month - 1 + count, 12)
    day = min(start.day, calendar.monthrange(year, month0 + 1)[1])
    return start.replace(year=year, month=month0 + 1, day=day)


_EVENTS = """
    SELECT count(*) FILTER (WHERE from_status IN ('', 'pending') AND to_status IN ('trial', 'active')),
           count(*) FILTER (WHERE from_status IN ('trial', 'active', 'past_due', 'suspended', 'paused')
                            AND to_status IN ('cancelled', 'expired')),
           count(*) FILTER (WHERE to_status = 'paused')
    FROM subscription_events e JOIN subscriptions s ON s.id = e.subscription_id
    WHERE s.provider = %(p)s AND e.at >= %(since)s AND e.at < %(until)s
"""
_MONEY = """
    SELECT count(*) FILTER (WHERE type = 'charge' AND status IN ('completed', 'refunded')),
           count(*) FILTER (WHERE type = 'charge' AND status = 'failed'),
           count(*) FILTER (WHERE type = 'refund' AND status = 'completed'),
           count(*) FILTER (WHERE type = 'chargeback')
    FROM payment_transactions WHERE provider = %(p)s AND created_at >= %(since)s AND created_at < %(until)s
"""
_INVOICES = """
    SELECT count(*), count(*) FILTER (WHERE i.status = 'paid' AND EXISTS (
        SELECT 1 FROM payment_transactions t WHERE t.invoice_id = i.id AND t.type = 'charge' AND t.status = 'failed'))
    FROM invoices i JOIN subscriptions s ON s.id = i.subscription_id
    WHERE s.provider = %(p)s AND i.number IS NOT NULL AND i.issued_at >= %(since)s AND i.issued_at < %(until)s
"""
_CHANGES = """
    SELECT count(*) FROM subscription_changes c JOIN subscriptions s ON s.id = c.subscription_id
    WHERE s.provider = %(p)s AND c.status = 'applied' AND c.closed_at >= %(since)s AND c.closed_at < %(until)s
"""
_RECURRING = """
    SELECT p.currency, p.cycle, plan.billing_interval, count(*), sum(p.amount * l.unit_amount / l.amount)
    FROM billing_periods p JOIN subscriptions s ON s.id = p.subscription_id JOIN invoices i ON i.id = p.invoice_id
    JOIN plans plan ON plan.id = p.plan_id
    JOIN invoice_lines l ON l.invoice_id = i.id AND l.kind IN ('plan', 'proration_charge') AND l.amount > 0
    WHERE s.provider = %(p)s AND p.superseded_at IS NULL AND i.status = 'paid' AND p.amount > 0
        AND p.start <= %(at)s AND p."end" > %(at)s
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def _month(provider: str, since: datetime, until: datetime) -> Month:
    within = {"p": provider, "since": since, "until": until}
    started, ended, paused = _row(_EVENTS, **within)
    (changed,) = _row(_CHANGES, **within)
    charges, declined, refunds, disputed = _row(_MONEY, **within)
    invoices, recovered = _row(_INVOICES, **within)
    paying, yearly = 0, dict.fromkeys(CURRENCIES, Decimal(0))
    for currency, cycle, interval, count, amount in _all(_RECURRING, p=provider, at=until - INSTANT):
        paying += count
        yearly[currency] += amount * PER_YEAR[Cycle(cycle)] / interval
    mrr = {currency: round_amount(amount / 12, currency) for currency, amount in yearly.items()}
    return Month(
        f"{since:%Y-%m}",
        started,
        ended,
        paying,
        invoices,
        charges,
        declined,
        recovered,
        refunds,
        changed,
        paused,
        disputed,
        mrr,
    )


def _counts(month: Month) -> list[str]:
    return [str(getattr(month, name)) for name in COUNTED]


def _row(sql: str, **params: Any) -> tuple[Any, ...]:
    [row] = _all(sql, **params)
    return row


def _all(sql: str, **params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
