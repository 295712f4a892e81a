"""Checks of single values that plans and coupons share. Each returns the value as its column keeps it, or raises ValueError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def text(limit: int) -> Callable[[Any], str]:
    """A check for 1 to `limit` characters, blanks at the ends dropped."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError("This may not be blank")
        if len(value.strip()) > limit or "\0" in value:
            raise ValueError(f"At most {limit} characters, none of them NUL")
        return value.strip()

    return check


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A check for whole numbers from `low` to `high`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"A whole number from {low} to {high}")
        return value

    return check


def flag(value: Any) -> bool:
    """True or false, nothing that only counts as such."""
    if not isinstance(value, bool):
        raise ValueError("True or false")
    return value
