"""Used units as lines of invoices: the source that `payments` asks, and the marks that it sets. Under the subscription's lock.

A line is the price of all that was used in a cycle, less what was charged for it before: in whatever pieces it comes, late
ones too, the lines of a cycle sum to the price of its use. Nobody is kept from using meanwhile: who bills reads `used`
without a lock and writes `billed` and `charged` only, which nobody else writes without the subscription's lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F, QuerySet

from payflow.core.money import Money, has_currency_scale
from payments.composition import LineDraft
from payments.invoices import Span
from payments.models import InvoiceLine, LineKind
from plans.models import PriceModel, Settlement
from plans.pricing import explained, price, pricing_of
from usage.models import UsageMeter

#: In a line's explanation: the meter that it charges.
METER = "meter"

# Meters are locked in the order in which a batch of usage raises them, so that neither waits for the other in a circle.
_LOCKED = """
WITH locked AS MATERIALIZED (
    SELECT id FROM usage_meters WHERE id = ANY (%s::uuid[])
    ORDER BY user_id, subscription_id, price_id, period_start FOR NO KEY UPDATE
)"""
_MARK = """
UPDATE usage_meters m SET billed = v.billed, charged = v.charged
FROM locked JOIN unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::numeric[], %s::numeric[])
    AS v (id, billed_before, billed, charged_before, charged) USING (id)
WHERE m.id = locked.id AND m.billed = v.billed_before AND m.charged = v.charged_before
"""
_TAKE_BACK = """
UPDATE usage_meters m SET billed = m.billed - v.units, charged = m.charged - v.amount
FROM locked JOIN unnest(%s::uuid[], %s::bigint[], %s::numeric[]) AS v (id, units, amount) USING (id)
WHERE m.id = locked.id
"""
MARK = _LOCKED + _MARK
TAKE_BACK = _LOCKED + _TAKE_BACK


def usage_lines(periods: Sequence[Span], at: datetime) -> dict[uuid.UUID, list[LineDraft]]:
    """What is used and not billed of cycles that began before the ends of `periods`, by these. One query; writes nothing.

    Of cycles that were billed before, what has come late since.
    """
    del at
    ends = {period.subscription_id: period for period in periods}
    lines: dict[uuid.UUID, list[LineDraft]] = {}
    for meter in unbilled().filter(subscription__any=ends.keys()):
        assert meter.subscription_id is not None
        period = ends[meter.subscription_id]
        if meter.period_start < period.end:
            lines.setdefault(period.pk, []).append(meter_line(meter))
    return lines


def unbilled() -> QuerySet[UsageMeter]:
    """The meters of what is settled by invoice and not billed, in the order of an invoice."""
    rows = UsageMeter.objects.filter(price__settlement=Settlement.INVOICE).exclude(used=F("billed"))
    return rows.select_related("price__plan").order_by("period_start", "price__action", "pk")


def usage_billed(lines: Sequence[InvoiceLine]) -> None:
    """The lines are written: what they ask for is billed. Raises RuntimeError where something else has billed it meanwhile."""
    usage_mark([Mark(line.explanation, line.amount, _is_whole(line)) for line in lines if METER in line.explanation])


class Mark(NamedTuple):
    """What a line says of its meter, and the amount that stands; `whole` where that is all of it."""

    explanation: Mapping[str, Any]
    amount: Decimal
    whole: bool = True


def usage_mark(marks: Sequence[Mark]) -> None:
    """Sets what is billed. Raises RuntimeError as `usage_billed`, with the whole transaction to be given up."""
    if not marks:
        return
    told = [mark.explanation for mark in marks]
    charged = [Decimal(each["charged_before"]) for each in told]
    with connection.cursor() as cursor:
        cursor.execute(
            MARK,
            [
                [each[METER] for each in told],
                [each[METER] for each in told],
                [each["billed_before"] for each in told],
                [mark.explanation["used" if mark.whole else "billed_before"] for mark in marks],
                charged,
                [before + mark.amount for before, mark in zip(charged, marks, strict=True)],
            ],
        )
        if cursor.rowcount != len(marks):
            raise RuntimeError("usage was billed by somebody else: the subscription's lock is not held")


def usage_taken_back(lines: Sequence[InvoiceLine]) -> None:
    """The lines' invoice is void: they are owed again, by the next one."""
    ours = [line for line in lines if METER in line.explanation]
    if not ours:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            TAKE_BACK,
            [
                [line.explanation[METER] for line in ours],
                [line.explanation[METER] for line in ours],
                [
                    line.explanation["used"] - line.explanation["billed_before"] if _is_whole(line) else 0
                    for line in ours
                ],
                [line.amount for line in ours],
            ],
        )


def meter_line(meter: UsageMeter) -> LineDraft:
    pricing = pricing_of(meter.price)
    whole, charged = price(pricing, meter.used), Money(meter.charged, meter.currency)
    amount = whole - charged
    quantity, unit_amount = _of_units(meter, meter.used - meter.billed, amount)
    return LineDraft(
        kind=LineKind.USAGE,
        description=_description(meter),
        amount=amount,
        quantity=quantity,
        unit_amount=unit_amount,
        period_start=meter.period_start,
        period_end=meter.period_end,
        explanation=explained(pricing)
        | {
            METER: str(meter.pk),
            "plan": meter.price.plan.code,
            "action": meter.price.action,
            "used": meter.used,
            "billed_before": meter.billed,
            "price": str(whole.amount),
            "charged_before": str(charged.amount),
            "amount": str(amount.amount),
        },
    )


def _description(meter: UsageMeter) -> str:
    late = ", more of a period that was billed before" if meter.billed else ""
    return f"{meter.price.plan.name}: {meter.price.action}, {meter.used - meter.billed:,} used{late}"


def _of_units(meter: UsageMeter, units: int, amount: Money) -> tuple[Decimal, Money]:
    """Quantity and unit price: the units, where the line is so many times one price; else one of its amount."""
    one = meter.price.unit_amount
    if meter.price.model == PriceModel.PER_UNIT and one is not None and has_currency_scale(one, meter.currency):
        unit = Money(one, meter.currency)
        if unit.amount * units == amount.amount:
            return Decimal(units), unit
    return Decimal(1), amount


def _is_whole(line: InvoiceLine) -> bool:
    """Not where an invoice could give back only a part of what a cheaper tier takes off."""
    return bool(line.amount == Decimal(line.explanation["amount"]))
