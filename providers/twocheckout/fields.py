"""Reading the API's objects: exact, or MalformedError says which field isn't."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from payflow.core.money import round_amount
from providers.base import MalformedError
from providers.wire.fields import amount_of, usable_text

#: 2Checkout's JSON numbers are floats printed with up to 17 digits: 9.99 may come as 9.9900000000000002.
_NOISE = Decimal("0.000001")

REFERENCE = re.compile(r"[0-9]{1,20}", re.ASCII)


def objects(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects of a list; nothing where it is absent or null. Raises MalformedError for anything else."""
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedError("a list of objects is something else")
    yield from value


def nested(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under `name`; an empty one where there is none."""
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def price_of(value: object, currency: str, name: str) -> Decimal:
    """An amount in the currency's digits, freed of a float's noise. Raises MalformedError where there is more than noise."""
    if isinstance(value, Decimal) and value.is_finite() and abs(value) < Decimal(10) ** 15:
        rounded = round_amount(value, currency)
        if abs(rounded - value) < _NOISE:
            value = rounded
    amount = amount_of(value, name)
    if amount != round_amount(amount, currency):
        raise MalformedError(f"{name} has more digits than {currency}")
    return amount


def switch_of(value: object) -> bool | None:
    """A boolean in any of its spellings; None for anything else, which nobody may take for a yes."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(word)


def reference_of(value: object, name: str) -> str:
    """An order's reference number."""
    text = usable_text(value)
    if text is None or not REFERENCE.fullmatch(text):
        raise MalformedError(f"{name} is not an order's reference")
    return text
