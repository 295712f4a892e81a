"""2Checkout's dates: without a zone, in the zone that the account's settings name.

Source: providers.md 2.2; the API's reference says the same of StartDate and ExpirationDate.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from providers.base import MalformedError

#: What it calls the end of a subscription that never ends.
LIFETIME_YEAR = 9999

_OFFSET = re.compile(r"(?:GMT|UTC)([+-])(\d{2}):?(\d{2})", re.ASCII)
_COMPACT = re.compile(r"\d{14}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d)?", re.ASCII)


def zone_of(name: str) -> tzinfo | None:
    """The zone of an IANA name (Europe/Bucharest) or of 2Checkout's own spelling (GMT+03:00); None for anything else."""
    if offset := _OFFSET.fullmatch(name):
        hours, minutes = int(offset[2]), int(offset[3])
        if hours > 14 or minutes > 59:
            return None
        delta = timedelta(hours=hours, minutes=minutes)
        return timezone(-delta if offset[1] == "-" else delta)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # no such name; a path; a folder of the database
        return None


def is_empty(value: object) -> bool:
    """True for the ways of saying that there is no date."""
    return value in (None, "", False) or (isinstance(value, str) and value.startswith("0000-00-00"))


def moment_in(value: object, zone: tzinfo, name: str) -> datetime:
    """The UTC moment of a local `2026-01-31 10:00:00`, `2026-01-31` (its beginning) or `20260131100000`.

    Raises MalformedError.
    """
    text = value.strip() if isinstance(value, str) else ""
    try:
        if _COMPACT.fullmatch(text):
            local = datetime.strptime(text, "%Y%m%d%H%M%S")  # noqa: DTZ007 - its zone is the account's, set below
        elif _DATE.fullmatch(text):
            local = datetime.fromisoformat(text)
        else:
            raise ValueError("neither of its forms")
        return local.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"{name} is not a date") from error


def end_of_period(value: object, zone: tzinfo, name: str) -> datetime | None:
    """As `moment_in`; None where there is no end."""
    if is_empty(value) or (isinstance(value, str) and value.startswith(str(LIFETIME_YEAR))):
        return None
    return moment_in(value, zone, name)
