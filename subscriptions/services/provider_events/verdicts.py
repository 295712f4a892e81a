"""What becomes of an event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What became of an event; a delivery of several takes the last of these that any of them got."""

    IGNORED = "ignored"
    PROCESSED = "processed"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Applied:
    verdict: Verdict
    note: str = ""


class PaymentNotKnownYet(Exception):
    """The event speaks of money that has not been reported: events come in any order."""


PROCESSED = Applied(Verdict.PROCESSED)
