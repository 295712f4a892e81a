"""What so many units of an action come to. Pure: exact fractions, rounded once, HALF_UP, by the currency's digits.

What is included is taken off first; tiers and packages count what is used beyond it.

- `per_unit`: units times the price of one.
- `graduated`: each unit at the price of the tier that it lies in, and the flat amount of every tier that is reached.
- `volume`: all units at the price of the tier that the last one lies in, and its flat amount. It may fall where a
  further unit reaches a cheaper tier.
- `package`: packages that have been begun, times the price of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, assert_never

from payflow.core.money import Money
from plans.models import ActionPrice, PriceModel

_FORMULAS = {
    PriceModel.PER_UNIT: "(used - included) * unit_amount",
    PriceModel.GRADUATED: "sum over tiers of (units in the tier * unit_amount + flat_amount)",
    PriceModel.VOLUME: "(used - included) * unit_amount of the tier it reaches + flat_amount",
    PriceModel.PACKAGE: "ceil((used - included) / package_size) * unit_amount",
}


class Tier(NamedTuple):
    """Up to and with so many units (None: without end)."""

    up_to: int | None
    unit_amount: Decimal
    flat_amount: Decimal


@dataclass(frozen=True, slots=True)
class Pricing:
    """The terms of one action."""

    model: PriceModel
    currency: str
    included: int = 0
    unit_amount: Decimal | None = None
    package_size: int | None = None
    tiers: Sequence[Tier] = ()


def pricing_of(row: ActionPrice) -> Pricing:
    return Pricing(
        model=PriceModel(row.model),
        currency=row.currency,
        included=row.included,
        unit_amount=row.unit_amount,
        package_size=row.package_size,
        tiers=[Tier(tier["up_to"], Decimal(tier["unit_amount"]), Decimal(tier["flat_amount"])) for tier in row.tiers],
    )


def price(pricing: Pricing, used: int) -> Money:
    """What `used` units of one period cost together. Raises ValueError for a negative number, or for more than money holds."""
    return Money.of_fraction(price_exact(pricing, used), pricing.currency)


def price_exact(pricing: Pricing, used: int) -> Fraction:
    """The same before it is rounded."""
    if used < 0:
        raise ValueError("nobody uses less than nothing")
    units = max(used - pricing.included, 0)
    if not units:
        return Fraction(0)
    match pricing.model:
        case PriceModel.PER_UNIT:
            return units * _unit(pricing)
        case PriceModel.PACKAGE:
            assert pricing.package_size, "a package has a size"
            return -(-units // pricing.package_size) * _unit(pricing)
        case PriceModel.VOLUME:
            reached = next(tier for tier in pricing.tiers if tier.up_to is None or units <= tier.up_to)
            return units * Fraction(reached.unit_amount) + Fraction(reached.flat_amount)
        case PriceModel.GRADUATED:
            return _graduated(pricing.tiers, units)
        case model:
            assert_never(model)


def explained(pricing: Pricing) -> dict[str, Any]:
    """The formula and the terms in it, as an invoice line keeps them."""
    terms: dict[str, Any] = {"formula": _FORMULAS[pricing.model], "model": pricing.model.value}
    terms |= {"currency": pricing.currency, "included": pricing.included}
    if pricing.unit_amount is not None:
        terms["unit_amount"] = plain(pricing.unit_amount)
    if pricing.package_size is not None:
        terms["package_size"] = pricing.package_size
    if pricing.tiers:
        terms["tiers"] = [
            {
                "up_to": tier.up_to,
                "unit_amount": plain(tier.unit_amount),
                "flat_amount": plain(tier.flat_amount),
            }
            for tier in pricing.tiers
        ]
    return terms


def plain(amount: Decimal) -> str:
    """Its digits, none for nothing."""
    return f"{amount.normalize():f}"


def _graduated(tiers: Sequence[Tier], units: int) -> Fraction:
    total, below = Fraction(0), 0
    for tier in tiers:
        if units <= below:
            break
        reached = units if tier.up_to is None else min(units, tier.up_to)
        total += (reached - below) * Fraction(tier.unit_amount) + Fraction(tier.flat_amount)
        below = reached
    return total


def _unit(pricing: Pricing) -> Fraction:
    assert pricing.unit_amount is not None, "this model has one price"
    return Fraction(pricing.unit_amount)
