"""What a coupon may be: the values alone. Pure; what the database knows (codes taken, redemptions) is for the services."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

from payflow.core.errors import ValidationFailed
from payflow.core.money import CURRENCIES, currency_digits, has_currency_scale, round_amount
from plans.models import CouponDuration, CouponKind
from plans.rules import MAX_PRICE, MAX_ROWS, MAX_USAGE
from plans.values import flag, text, whole

MAX_CYCLES = 2**15 - 1
MAX_REDEMPTIONS = MAX_USAGE
PERCENT_DIGITS = 4

_CODE = re.compile(r"[A-Z0-9_-]{2,50}")


class OptionalCouponFields(TypedDict, total=False):
    """What a coupon can be made without. `plans` are ids or codes, none means every plan; null means without limit."""

    name: str
    percent: Decimal | None
    amount: Decimal | None
    currency: str
    duration: str
    cycles: int | None
    starts_at: datetime | None
    ends_at: datetime | None
    max_redemptions: int | None
    first_time_only: bool
    plans: Sequence[str | uuid.UUID]
    is_active: bool


class CouponFields(OptionalCouponFields, total=False):
    code: str
    kind: str


#: A new coupon where nothing else is said.
DEFAULTS: OptionalCouponFields = {
    "name": "",
    "percent": None,
    "amount": None,
    "currency": "",
    "duration": CouponDuration.ONCE,
    "cycles": None,
    "starts_at": None,
    "ends_at": None,
    "max_redemptions": None,
    "first_time_only": False,
    "plans": [],
    "is_active": True,
}


def checked(values: Mapping[str, Any], *, present: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as the columns keep them; `present` is the rest of the coupon, which they have to fit.

    A new kind or duration drops what belonged to the former one unless it is given too. Raises ValidationFailed with
    every fault at once, by field.
    """
    clean: dict[str, Any] = {}
    faults: dict[str, list[str]] = {}
    for name, value in values.items():
        try:
            clean[name] = _CHECKS[name](value)
        except ValueError as error:
            faults[name] = [str(error)]
    if not faults:
        clean = {**_dropped(clean, present), **clean}
        coupon = {**present, **clean}
        faults = {name: [fault] for name, fault in _faults(coupon).items()}
    if faults:
        raise ValidationFailed(details=faults)
    if clean.get("amount") is not None:
        clean["amount"] = round_amount(clean["amount"], coupon["currency"])
    return clean


def normal_code(code: str) -> str:
    """A code as it is kept, however somebody wrote it."""
    return code.strip().upper()


def _dropped(clean: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    dropped: dict[str, Any] = {}
    if clean.get("kind", present.get("kind")) != present.get("kind"):
        dropped |= {"percent": None, "amount": None, "currency": ""}
    if clean.get("duration", present.get("duration")) != present.get("duration"):
        dropped["cycles"] = None
    return dropped


def _faults(coupon: Mapping[str, Any]) -> dict[str, str]:
    """Where the values contradict each other."""
    faults: dict[str, str] = {}
    if coupon["kind"] == CouponKind.PERCENT:
        if coupon["percent"] is None:
            faults["percent"] = "How many percent?"
        for name in ("amount", "currency"):
            if coupon[name]:
                faults[name] = "A coupon of percent has none"
    else:
        if coupon["percent"] is not None:
            faults["percent"] = "A coupon of a fixed amount has none"
        if not coupon["currency"]:
            faults["currency"] = "An amount of which currency?"
        if coupon["amount"] is None:
            faults["amount"] = "How much?"
        elif coupon["currency"] and not has_currency_scale(coupon["amount"], coupon["currency"]):
            faults["amount"] = f"{coupon['currency']} has {currency_digits(coupon['currency'])} decimals"
    if coupon["duration"] == CouponDuration.CYCLES:
        if coupon["cycles"] is None:
            faults["cycles"] = "For how many cycles?"
    elif coupon["cycles"] is not None:
        faults["cycles"] = f"Only with the duration {CouponDuration.CYCLES.value!r}"
    starts, ends = coupon["starts_at"], coupon["ends_at"]
    if starts is not None and ends is not None and ends <= starts:
        faults["ends_at"] = "It ends after it starts"
    return faults


def _code(value: Any) -> str:
    # upper() before the pattern would let characters in that become ASCII by it (ı, ſ).
    if not isinstance(value, str) or not value.isascii() or not _CODE.fullmatch(normal_code(value)):
        raise ValueError("2 to 50 letters, digits, - and _")
    return normal_code(value)


def _name(value: Any) -> str:
    return text(100)(value) if value else ""


def _positive(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("An exact number")
    number = Decimal(value)
    if not number.is_finite() or number <= 0:
        raise ValueError("More than 0")
    return number


def _percent(value: Any) -> Decimal:
    percent = _positive(value)
    if percent > 100:
        raise ValueError("At most 100")
    if percent != round(percent, PERCENT_DIGITS):
        raise ValueError(f"At most {PERCENT_DIGITS} decimals")
    return round(percent, PERCENT_DIGITS)


def _amount(value: Any) -> Decimal:
    amount = _positive(value)
    if amount >= MAX_PRICE:
        raise ValueError(f"Less than {MAX_PRICE}")
    return amount


def _currency(value: Any) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or value not in CURRENCIES:
        raise ValueError("A currency of ISO 4217, three capital letters")
    return value


def _moment(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("A moment with its zone")
    return value


def _one_of(names: Sequence[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in names:
            raise ValueError(f"One of {', '.join(names)}")
        return str(value)

    return check


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _plans(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > MAX_ROWS:
        raise ValueError(f"A list of at most {MAX_ROWS} plans")
    if not all(isinstance(name, str | uuid.UUID) and "\0" not in str(name) for name in value):
        raise ValueError("Plans are named by id or code")
    return [str(name) for name in value]


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "code": _code,
    "name": _name,
    "kind": _one_of(CouponKind.values),
    "percent": _or_none(_percent),
    "amount": _or_none(_amount),
    "currency": _currency,
    "duration": _one_of(CouponDuration.values),
    "cycles": _or_none(whole(1, MAX_CYCLES)),
    "starts_at": _or_none(_moment),
    "ends_at": _or_none(_moment),
    "max_redemptions": _or_none(whole(1, MAX_REDEMPTIONS)),
    "first_time_only": flag,
    "is_active": flag,
    "plans": _plans,
}
