"""Reading what a foreign system sent: a value comes out exact and fit for a column, or MalformedError says which isn't."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any, NoReturn

from payflow.core.money import CURRENCIES, MAX_DIGITS, MAX_SCALE, currency_digits
from providers.base import MalformedError

#: The width of our columns for foreign references.
MAX_TEXT = 255
#: Money is numeric(19,4): anything outside is no amount that we could have asked for.
_AMOUNT = re.compile(rf"[0-9]{{1,{MAX_DIGITS - MAX_SCALE}}}(\.[0-9]{{1,{MAX_SCALE}}})?", re.ASCII)


def read_object(raw_body: bytes) -> dict[str, Any]:
    """A JSON object, its numbers exact (Decimal). Raises MalformedError."""
    try:
        body = json.loads(raw_body.decode(), parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:  # Decimal refuses 1e99999999999999999999
        raise MalformedError("the body is not JSON") from error
    if not isinstance(body, dict):
        raise MalformedError("the body is not an object")
    return body


def usable_text(value: object, longest: int = MAX_TEXT) -> str | None:
    """A text (or whole number) that a column takes: not empty, no control characters, no lone surrogates; else None."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text.strip()) <= longest or not text.isprintable():
        return None
    return text.strip()


def required_text(fields: Mapping[str, Any], name: str, longest: int = MAX_TEXT) -> str:
    value = usable_text(fields.get(name), longest)
    if value is None:
        raise MalformedError(f"{name} is missing or not a short text")
    return value


def optional_text(fields: Mapping[str, Any], name: str, longest: int = MAX_TEXT) -> str | None:
    """None where it is absent, null or empty."""
    return None if fields.get(name) in (None, "") else required_text(fields, name, longest)


def amount_of(value: object, name: str = "amount") -> Decimal:
    """Not negative, as a JSON number or a string of digits, in the major unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if isinstance(value, Decimal):  # 6.99e0 is a JSON number too; an exponent too large is cut short before it is spelt
        value = format(value, "f") if value.is_finite() and -30 < value.adjusted() < 30 else None
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value.strip()):
        raise MalformedError(f"{name} is not an amount of money")
    return Decimal(value.strip())


def minor_amount(value: object, currency: str, name: str = "amount") -> Decimal:
    """The major unit of a whole number of minor units: 1099 USD cents are 10.99, 1099 JPY are 1099, 1099 KWD fils 1.099."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**MAX_DIGITS:
        raise MalformedError(f"{name} is not a whole number of minor units")
    return Decimal(value).scaleb(-currency_digits(currency))


def currency_of(value: object) -> str:
    """An ISO 4217 code, in whatever case it came."""
    code = value.upper() if isinstance(value, str) else ""
    if code not in CURRENCIES:
        raise MalformedError("the currency is not an ISO 4217 code")
    return code


def moment_of(value: object, name: str) -> datetime:
    """An RFC 3339 time in UTC. Raises MalformedError where it has no zone."""
    moment = _parsed(value, name)
    if moment.tzinfo is None:
        raise MalformedError(f"{name} has no zone")
    return _utc(moment, name)


def moment_utc(value: object, name: str) -> datetime:
    """An RFC 3339 time; one without a zone is UTC."""
    return moment_local(value, name, UTC)


def moment_local(value: object, name: str, zone: tzinfo) -> datetime:
    """An ISO 8601 time in UTC; one without a zone is of `zone`."""
    moment = _parsed(value, name)
    return _utc(moment if moment.tzinfo else moment.replace(tzinfo=zone), name)


def moment_of_epoch(value: object, name: str, *, per_second: int = 1) -> datetime:
    """A time in seconds since 1970 (`per_second` 1000: milliseconds), as a number or a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(f"{name} is not a time")
    try:
        seconds, rest = divmod(value, per_second)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1_000_000 // per_second)
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedError(f"{name} is not a time") from error


def _parsed(value: object, name: str) -> datetime:
    try:
        return datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise MalformedError(f"{name} is not a time") from error


def _utc(moment: datetime, name: str) -> datetime:
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the year 1 or 9999 with an offset
        raise MalformedError(f"{name} is not a time") from error


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")  # Python would read NaN and Infinity as floats
