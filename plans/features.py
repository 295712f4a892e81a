"""What a plan's features mean. Pure: no database, no request.

A value is a switch (true, false), a limit (a number, -1 for no limit) or a text. `<action>_per_day`,
`<action>_per_month` and `<action>` limit the usage action of that name (section 3 of the design): the second document's
`{"translations_per_day": 30, "books": 2}` works as it reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

UNLIMITED = -1
MAX_FEATURES = 200
MAX_TEXT = 500
#: Whole numbers up to here, and fractions of so many digits, are the same number after a JSON column.
MAX_LIMIT = 10**15
MAX_DIGITS = 15
WINDOW_SUFFIXES = ("_per_day", "_per_month")

FeatureValue = bool | int | float | str
Features = dict[str, FeatureValue]
Window = Literal["day", "month", "all"]

_KEY = re.compile(r"[a-z0-9_]{1,64}")


class Kind(StrEnum):
    SWITCH = "switch"
    LIMIT = "limit"
    TEXT = "text"


def kind(value: object) -> Kind:
    """What a feature value is. Raises ValueError for what is none: null, lists, objects, NaN, numbers below -1."""
    if isinstance(value, bool):
        return Kind.SWITCH
    if isinstance(value, str):
        return Kind.TEXT
    if isinstance(value, int | float | Decimal) and math.isfinite(value) and (value >= 0 or value == UNLIMITED):
        return Kind.LIMIT
    raise ValueError("A feature is true or false, a number that is not negative (-1: no limit), or a text")


def merge_features(families: Iterable[Mapping[str, Any]]) -> Features:
    """The better of each feature, for a user who has plans of several families.

    Switches OR, limits max (-1 is the best), of texts the first. Where one key is of several kinds: on beats any limit
    (it sets none), a limit beats a text, and off is the least. Keys keep the order in which they are met.
    """
    merged: Features = {}
    for features in families:
        for key, value in features.items():
            if key not in merged or _rank(value) > _rank(merged[key]):
                merged[key] = value
    return merged


def action_limits(features: Mapping[str, Any], action: str) -> dict[Window, int]:
    """How many units of `action` each window allows; a window without a limit is left out.

    `all` is for ever, and set only where the feature named like the action is a number (a switch allows or forbids).
    A fraction allows its whole part.
    """
    keys: dict[Window, str] = {"day": f"{action}_per_day", "month": f"{action}_per_month", "all": action}
    limits: dict[Window, int] = {}
    for window, key in keys.items():
        value = features.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value != UNLIMITED:
            limits[window] = math.floor(value)
    return limits


def lowered(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The features by which a subscriber of `old` has less under `new`.

    A `…_per_day` or `…_per_month` that is missing sets no limit; any other feature that is missing is not granted. One
    text is never less than another.
    """
    keys = dict.fromkeys([*old, *new])
    return [key for key in keys if _rank(new.get(key, _missing(key))) < _rank(old.get(key, _missing(key)))]


def checked_features(value: Any) -> Features:
    """`value` as the column keeps it, its numbers as int or float. Raises ValueError with the fault for the caller."""
    if not isinstance(value, Mapping):
        raise ValueError("Features are an object of names and values")
    if len(value) > MAX_FEATURES:
        raise ValueError(f"At most {MAX_FEATURES} features")
    return {_checked_key(key): _checked_value(key, item) for key, item in value.items()}


def _missing(key: str) -> FeatureValue:
    return UNLIMITED if key.endswith(WINDOW_SUFFIXES) else False


def _rank(value: Any) -> tuple[int, float]:
    if value is False or value is None:
        return (0, 0)
    if value is True:
        return (3, 0)
    if isinstance(value, str):
        return (1, 0)
    return (2, math.inf if value == UNLIMITED else value)


def _checked_key(key: Any) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"{str(key)[:80]!r} is no feature name: small letters, digits and _, 64 at most")
    return key


def _checked_value(key: str, value: Any) -> FeatureValue:
    try:
        found = kind(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if found is Kind.TEXT and (len(value) > MAX_TEXT or "\0" in value):
        raise ValueError(f"{key}: at most {MAX_TEXT} characters, none of them NUL")
    if found is not Kind.LIMIT:
        return bool(value) if found is Kind.SWITCH else str(value)
    if value > MAX_LIMIT:
        raise ValueError(f"{key}: at most {MAX_LIMIT}; -1 means no limit")
    number = Decimal(str(value))
    if number == number.to_integral_value():
        return int(number)
    if len(number.normalize().as_tuple().digits) > MAX_DIGITS:
        raise ValueError(f"{key}: at most {MAX_DIGITS} digits")
    return float(number)
