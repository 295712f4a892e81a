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


PROCESSED = Applied(Verdict.PROCESSED)


class NotKnownYet(Exception):
    """The event speaks of what has not been reported: events come in any order. It is tried again.

    Where what it waits for never comes, it ends as `otherwise`: for an operator, or as nothing to anybody.
    """

    def __init__(self, message: str, *, otherwise: Verdict = Verdict.REVIEW) -> None:
        super().__init__(message)
        self.otherwise = otherwise


class PaymentNotKnownYet(NotKnownYet):
    """Of money that has not been reported."""


class OwnerNotKnownYet(NotKnownYet):
    """Of a purchase whose user nobody has named: the app will, when it attaches it."""
