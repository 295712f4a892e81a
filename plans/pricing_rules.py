"""What prices of a plan's actions may be: the values alone, and what they must be beside the plan's own price. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NotRequired, TypedDict

from payflow.core.errors import ValidationFailed
from payflow.core.money import currency_digits
from plans.models import PriceModel, Settlement
from plans.pricing import plain
from plans.values import whole

MAX_ACTIONS = 100
MAX_TIERS = 50
MAX_UNITS = 2**53
MAX_PACKAGE = 2**31 - 1
#: An amount of a unit is less than this, with at most nine decimals: fractions of a cent are what many units cost.
MAX_UNIT_AMOUNT = Decimal(10) ** 9
UNIT_DECIMALS = 9

_ACTION = re.compile(r"[a-z0-9_.:-]{1,50}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_TIERED = frozenset({PriceModel.GRADUATED, PriceModel.VOLUME})


class TierFields(TypedDict):
    """`up_to` None is the last one's. Amounts are kept as text, which is exact."""

    up_to: int | None
    unit_amount: str
    flat_amount: str


class ActionPriceFields(TypedDict):
    """One action in one currency (the plan's own unless it is named)."""

    action: str
    currency: NotRequired[str]
    settlement: NotRequired[str]
    model: NotRequired[str]
    included: NotRequired[int]
    unit_amount: NotRequired[Decimal | None]
    package_size: NotRequired[int | None]
    tiers: NotRequired[Sequence[Mapping[str, Any]]]


def action_prices(value: Any) -> list[dict[str, Any]]:
    """The rows with every field. Raises ValueError with the first fault, which names its action."""
    if not isinstance(value, list | tuple) or len(value) > MAX_ACTIONS:
        raise ValueError(f"A list of at most {MAX_ACTIONS}")
    rows = [_row(each) for each in value]
    if len({(row["action"], row["currency"]) for row in rows}) < len(rows):
        raise ValueError("One price for each action and currency")
    return sorted(rows, key=lambda row: (row["action"], row["currency"]))


def check_action_prices(plan: Mapping[str, Any]) -> None:
    """The prices of actions beside everything else that the plan is. Raises ValidationFailed, UnsupportedCurrency.

    An action that is priced in one currency is priced in each in which the plan is sold: nobody has it for nothing by
    paying in another. What goes on an invoice needs a plan that makes invoices.
    """
    sold = {plan["currency"]: plan["price"]} | {row["currency"]: row["amount"] for row in plan["prices"]}
    priced: dict[str, set[str]] = {}
    for row in plan["action_prices"]:
        currency_digits(row["currency"])
        priced.setdefault(row["action"], set()).add(row["currency"])
        if row["settlement"] == Settlement.INVOICE and sold.get(row["currency"], 1) == 0:
            raise _fault(
                row["action"], f"a plan that is free in {row['currency']} makes no invoice: settle it by credit"
            )
    for action, currencies in priced.items():
        if lacking := sorted(sold.keys() - currencies):
            raise _fault(action, f"it has no price in {', '.join(lacking)}, in which the plan is sold")


def with_currency(rows: Sequence[Mapping[str, Any]], currency: str) -> list[dict[str, Any]]:
    """The rows, those without a currency in that of the plan. Raises ValidationFailed where this makes two of one."""
    filled = [{**row, "currency": row["currency"] or currency} for row in rows]
    if len({(row["action"], row["currency"]) for row in filled}) < len(filled):
        raise ValidationFailed.field("action_prices", "One price for each action and currency")
    return sorted(filled, key=lambda row: (row["action"], row["currency"]))


def _fault(action: str, text: str) -> ValidationFailed:
    return ValidationFailed.field("action_prices", f"{action}: {text}")


def _row(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("Each is an object")
    action = value.get("action")
    if not isinstance(action, str) or not _ACTION.fullmatch(action):
        raise ValueError("An action: 1 to 50 of a-z, 0-9 and _ . : -")
    try:
        return {"action": action, **_terms(value)}
    except ValueError as error:
        raise ValueError(f"{action}: {error}") from error


def _terms(value: Mapping[str, Any]) -> dict[str, Any]:
    model, settlement = value.get("model", PriceModel.PER_UNIT), value.get("settlement", Settlement.INVOICE)
    currency = value.get("currency", "")
    if model not in PriceModel.values:
        raise ValueError(f"model is one of {', '.join(PriceModel.values)}")
    if settlement not in Settlement.values:
        raise ValueError(f"settlement is one of {', '.join(Settlement.values)}")
    if currency != "" and (not isinstance(currency, str) or not _CURRENCY.fullmatch(currency)):
        raise ValueError("a currency is three capital letters (ISO 4217)")
    if settlement == Settlement.CREDIT and model == PriceModel.VOLUME:
        raise ValueError("by volume a later unit changes the price of those before it, which credit has paid")
    return {
        "currency": currency,
        "settlement": str(settlement),
        "model": str(model),
        "included": whole(0, MAX_UNITS)(value.get("included", 0)),
        **_amounts(PriceModel(model), value),
    }


def _amounts(model: PriceModel, value: Mapping[str, Any]) -> dict[str, Any]:
    unit, size, tiers = value.get("unit_amount"), value.get("package_size"), value.get("tiers") or []
    if model in _TIERED:
        if unit is not None or size is not None:
            raise ValueError(f"{model} is priced by its tiers alone")
        return {"unit_amount": None, "package_size": None, "tiers": _tiers(tiers)}
    if tiers:
        raise ValueError(f"{model} has no tiers")
    if unit is None:
        raise ValueError(f"{model} needs a unit_amount")
    if (size is not None) != (model == PriceModel.PACKAGE):
        raise ValueError("a package_size is what package has, and nothing else")
    return {
        "unit_amount": _unit_amount(unit),
        "package_size": None if size is None else whole(1, MAX_PACKAGE)(size),
        "tiers": [],
    }


def _tiers(value: Any) -> list[TierFields]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_TIERS:
        raise ValueError(f"1 to {MAX_TIERS} tiers")
    tiers: list[TierFields] = []
    below = 0
    for number, each in enumerate(value, start=1):
        if not isinstance(each, Mapping) or not each.keys() <= TierFields.__annotations__.keys():
            raise ValueError("a tier has up_to, unit_amount and flat_amount")
        up_to = each.get("up_to")
        if (up_to is None) != (number == len(value)):
            raise ValueError("the last tier, and no other, has no up_to")
        if up_to is not None:
            below = whole(below + 1, MAX_UNITS)(up_to)
        unit, flat = _unit_amount(each.get("unit_amount")), _unit_amount(each.get("flat_amount", 0))
        tiers.append(TierFields(up_to=up_to, unit_amount=plain(unit), flat_amount=plain(flat)))
    return tiers


def _unit_amount(value: Any) -> Decimal:
    """Text too: it is how tiers are kept."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError("an amount is an exact number")
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise ValueError("an amount is a number") from error
    if not amount.is_finite() or not 0 <= amount < MAX_UNIT_AMOUNT:
        raise ValueError(f"an amount is not negative, and less than {MAX_UNIT_AMOUNT}")
    if amount != round(amount, UNIT_DECIMALS):
        raise ValueError(f"an amount has at most {UNIT_DECIMALS} decimals")
    return abs(amount)
