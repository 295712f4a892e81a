"""What a plan may be: the values alone. Pure; what the database knows (codes taken, subscriptions) is for the services."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NotRequired, TypedDict

from payflow.core.errors import ValidationFailed
from payflow.core.ids import parse_uuid
from payflow.core.money import currency_digits, has_currency_scale, round_amount
from plans.features import checked_features
from plans.models import RESERVED_CODES, Cycle, ProrationUnit
from plans.pricing_rules import ActionPriceFields, action_prices, with_currency
from plans.values import flag, text, whole

MAX_PRICE = Decimal(10) ** 15
MAX_INTERVAL = 366
MAX_TRIAL_DAYS = 3650
MAX_USAGE = 2**31 - 1
MAX_SORT_ORDER = 2**15 - 1
MAX_DESCRIPTION = 10_000
MAX_ROWS = 200

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
_CURRENCY = re.compile(r"[A-Z]{3}")


class PriceFields(TypedDict):
    currency: str
    amount: Decimal


class ProviderRefFields(TypedDict):
    provider: str
    ref: str
    currency: NotRequired[str]


class OptionalFields(TypedDict, total=False):
    """What a plan can be made without. None as a `code` means: from the name."""

    code: str | None
    description: str | None
    billing_interval: int
    trial_days: int
    trial_needs_method: bool
    proration_unit: str | None
    features: Mapping[str, Any]
    max_usage_per_day: int | None
    max_usage_per_month: int | None
    family: str
    is_active: bool
    sort_order: int
    prices: Sequence[PriceFields]
    provider_refs: Sequence[ProviderRefFields]
    action_prices: Sequence[ActionPriceFields]


class PlanFields(OptionalFields, total=False):
    name: str
    price: Decimal
    currency: str
    billing_cycle: str


def checked(values: Mapping[str, Any], *, currency: str = "", price: Decimal | None = None) -> dict[str, Any]:
    """`values` as the columns keep them. `currency` and `price` are the plan's own where `values` lack them.

    Raises ValidationFailed with every fault at once; UnsupportedCurrency for a well-formed code that does not exist.
    """
    clean: dict[str, Any] = {}
    faults: dict[str, list[str]] = {}
    for name, value in values.items():
        try:
            clean[name] = _CHECKS[name](value)
        except ValueError as error:
            faults[name] = [str(error)]
    if faults:
        raise ValidationFailed(details=faults)
    _check_money(clean, clean.get("currency", currency), clean.get("price", price))
    return clean


def _check_money(clean: dict[str, Any], currency: str, price: Decimal | None) -> None:
    digits = currency_digits(currency)
    if price is not None and not has_currency_scale(price, currency):
        raise ValidationFailed.field("price", f"{currency} has {digits} decimals")
    if "price" in clean:
        clean["price"] = round_amount(clean["price"], currency)
    for row in clean.get("prices", ()):
        if row["currency"] == currency:
            raise ValidationFailed.field(
                "prices", f"{currency} is the plan's own currency: its price stands in `price`"
            )
        digits = currency_digits(row["currency"])
        if not has_currency_scale(row["amount"], row["currency"]):
            raise ValidationFailed.field("prices", f"{row['currency']} has {digits} decimals")
        row["amount"] = round_amount(row["amount"], row["currency"])
    for row in clean.get("provider_refs", ()):
        if row["currency"]:
            currency_digits(row["currency"])
    if "action_prices" in clean:
        clean["action_prices"] = with_currency(clean["action_prices"], currency)


def _amount(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("A price is an exact number")
    amount = Decimal(value)
    if not amount.is_finite():
        raise ValueError("A price is a number")
    if amount < 0:
        raise ValueError("A price is not negative")
    if amount >= MAX_PRICE:
        raise ValueError(f"A price is less than {MAX_PRICE}")
    return abs(amount)


def _description(value: Any) -> str | None:
    return text(MAX_DESCRIPTION)(value) if value else None


def _usage(value: Any) -> int | None:
    return None if value is None else whole(0, MAX_USAGE)(value)


def _proration_unit(value: Any) -> str | None:
    """None is the setting's own."""
    if value is not None and value not in ProrationUnit.values:
        raise ValueError(f"One of {', '.join(ProrationUnit.values)}, or nothing for the setting's")
    return None if value is None else str(value)


def _slug(value: Any) -> str:
    if not isinstance(value, str) or not _SLUG.fullmatch(value):
        raise ValueError("Small letters, digits, - and _, 50 at most, a letter or digit first")
    return value


def _code(value: Any) -> str | None:
    if value is None:
        return None
    code = _slug(value)
    if is_reserved(code):
        raise ValueError(f"{code!r} is reserved")
    return code


def is_reserved(code: str) -> bool:
    """True for a code by which a plan could not be reached: a path of the API, or what reads as an id."""
    return code in RESERVED_CODES or parse_uuid(code) is not None


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise ValueError("Three capital letters (ISO 4217)")
    return value


def _cycle(value: Any) -> str:
    if value not in Cycle.values:
        raise ValueError(f"One of {', '.join(Cycle.values)}")
    return str(value)


def _prices(value: Any) -> list[PriceFields]:
    rows = [
        PriceFields(currency=_currency(row.get("currency")), amount=_amount(row.get("amount"))) for row in _rows(value)
    ]
    if len({row["currency"] for row in rows}) < len(rows):
        raise ValueError("One price for each currency")
    return sorted(rows, key=lambda row: row["currency"])


def _provider_refs(value: Any) -> list[ProviderRefFields]:
    rows = [
        ProviderRefFields(
            provider=text(50)(row.get("provider")),
            ref=text(255)(row.get("ref")),
            currency=_currency(row["currency"]) if row.get("currency") else "",
        )
        for row in _rows(value)
    ]
    if len({(row["provider"], row["ref"]) for row in rows}) < len(rows):
        raise ValueError("Each reference once")
    return sorted(rows, key=lambda row: (row["provider"], row["ref"]))


def _rows(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple) or len(value) > MAX_ROWS:
        raise ValueError(f"A list of at most {MAX_ROWS}")
    return list(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "code": _code,
    "name": text(100),
    "description": _description,
    "price": _amount,
    "currency": _currency,
    "billing_cycle": _cycle,
    "billing_interval": whole(1, MAX_INTERVAL),
    "trial_days": whole(0, MAX_TRIAL_DAYS),
    "trial_needs_method": flag,
    "proration_unit": _proration_unit,
    "features": checked_features,
    "max_usage_per_day": _usage,
    "max_usage_per_month": _usage,
    "family": _slug,
    "is_active": flag,
    "sort_order": whole(-MAX_SORT_ORDER, MAX_SORT_ORDER),
    "prices": _prices,
    "provider_refs": _provider_refs,
    "action_prices": action_prices,
}
