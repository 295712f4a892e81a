"""What the system checks of settings share: a value that would be misread later is an error at the start."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.core import checks


def check_choice(name: str, allowed: Iterable[str]) -> list[checks.CheckMessage]:
    """Is the setting one of `allowed`?"""
    return check_rule(name, getattr(settings, name) in set(allowed), f"one of {', '.join(allowed)}")


def check_rule(name: str, holds: bool, allowed: str) -> list[checks.CheckMessage]:
    """An error that says what the setting must be, where it is not."""
    if holds:
        return []
    return [
        checks.Error(f"{name} is {getattr(settings, name)!r}", hint=f"It must be {allowed}.", id="payflow.E010"),
    ]


def is_count(value: object, least: int) -> bool:
    """Is `value` a whole number, and no less than `least`?"""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
