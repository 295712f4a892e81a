"""From charges to an invoice's lines: discount, tax, credit, in this order. Pure: the same inputs, the same lines.

The taxed base is what is charged less the discount. Credit is money that the customer already has here, so it settles the
taxed total and lowers no tax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from payflow.core.money import Money
from payments.models import InvoiceLine, LineKind, TaxRate
from payments.taxes import tax_of

Kind = InvoiceLine.Kind


@dataclass(frozen=True, slots=True)
class LineDraft:
    """One line before it is written. `explanation` holds the inputs of the formula that gave `amount`.

    Discounts and credit have negative amounts. `included` is the tax that a line of tax finds inside the price: such a
    line adds nothing to the total.
    """

    kind: LineKind
    description: str
    amount: Money
    quantity: Decimal = Decimal(1)
    unit_amount: Money | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    explanation: dict[str, Any] = field(default_factory=dict)
    included: Money | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of an invoice's lines by their meaning, as its columns have them: none is negative but `subtotal`."""

    subtotal: Money
    discount: Money
    tax: Money
    tax_included: Money
    credit: Money

    @property
    def total(self) -> Money:
        return self.subtotal - self.discount + self.tax - self.credit


def totals_of(lines: Sequence[LineDraft]) -> Totals:
    """Raises ValueError without lines or where currencies mix."""
    if not lines:
        raise ValueError("an invoice has lines")
    nothing = Money.zero(lines[0].amount.currency)
    sums = dict.fromkeys(("subtotal", "discount", "tax", "tax_included", "credit"), nothing)
    for line in lines:
        match line.kind:
            case Kind.DISCOUNT:
                sums["discount"] -= line.amount
            case Kind.CREDIT:
                sums["credit"] -= line.amount
            case Kind.TAX:
                sums["tax"] += line.amount
                sums["tax_included"] += line.included or nothing
            case _:
                sums["subtotal"] += line.amount
    return Totals(**sums)


def not_below_zero(charges: Sequence[LineDraft], usage: Sequence[LineDraft]) -> list[LineDraft]:
    """The charges with their usage, of which what is given back is no more than everything else comes to."""
    lines = [*charges, *(line for line in usage if line.amount.amount >= 0)]
    for line in usage:
        if line.amount.amount < 0:
            most = min(-line.amount, _sum(lines)) if lines else Money.zero(line.amount.currency)
            lines.append(line if most == -line.amount else replace(line, amount=-most, unit_amount=-most))
    return lines


def with_tax(lines: Sequence[LineDraft], rate: TaxRate | None) -> list[LineDraft]:
    """The lines and, where the buyer's country has a rate, the tax on their sum."""
    base = _sum(lines)
    if rate is None or not base:
        return list(lines)
    tax = tax_of(base, rate.percent, inclusive=rate.inclusive)
    return [
        *lines,
        LineDraft(
            kind=Kind.TAX,
            description=f"{rate.name} {rate.percent.normalize():f} %{' (included)' if rate.inclusive else ''}",
            amount=Money.zero(base.currency) if rate.inclusive else tax,
            included=tax if rate.inclusive else None,
            explanation={
                "formula": "base * percent / (100 + percent)" if rate.inclusive else "base * percent / 100",
                "base": str(base.amount),
                "percent": f"{rate.percent.normalize():f}",
                "country": rate.country,
                "inclusive": rate.inclusive,
                "tax": str(tax.amount),
            },
        ),
    ]


def with_credit(lines: Sequence[LineDraft], available: Money) -> list[LineDraft]:
    """The lines and, where the customer has credit, as much of it as they need."""
    if not available:
        return list(lines)
    due = totals_of(lines).total
    used = min(due, available)
    if not used or used.amount < 0:
        return list(lines)
    return [
        *lines,
        LineDraft(
            kind=Kind.CREDIT,
            description="Credit",
            amount=-used,
            explanation={"formula": "min(due, available)", "due": str(due.amount), "available": str(available.amount)},
        ),
    ]


def _sum(lines: Sequence[LineDraft]) -> Money:
    """What is taxed: everything that is charged, less discounts."""
    total = lines[0].amount
    for line in lines[1:]:
        total += line.amount
    return total
