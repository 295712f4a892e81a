"""The events of a batch as they came, each read by itself: a bad one gets its verdict and stops no other. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from payflow.api.fields import plain_json
from payflow.api.json import Unusable
from payflow.api.strict import unknown_names
from payflow.core.errors import Code
from payflow.core.ids import parse_uuid
from usage.content import content_faults, content_hash, metadata_json

FIELDS = frozenset({"user_id", "action", "quantity", "content_id", "metadata", "event_id", "occurred_at"})

Faults = Mapping[str, list[str]]


class Entry(NamedTuple):
    """One well-formed event. `user_id` is a UUID as text, the same for all events of a user; `metadata` is JSON,
    `occurred_at` in UTC.
    """

    position: int
    user_id: str
    action: str
    quantity: int
    content_id: str | None
    event_id: str
    metadata: str | None
    occurred_at: datetime
    digest: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an event that was not simply counted.

    `duplicate`: counted before. `refused`: not counted, `code` and `details` say why. `over_limit`: counted, beyond the
    limits that `details` names.
    """

    position: int
    event_id: Any
    verdict: str
    code: Code | None = None
    details: Any = None


@dataclass(frozen=True, slots=True)
class Between:
    """When an event may have occurred, both included."""

    earliest: datetime
    latest: datetime


def entries_read(events: Sequence[Any], *, now: datetime, between: Between) -> tuple[list[Entry], list[Verdict]]:
    """The well-formed events in their order, and a verdict for each of the others."""
    entries, verdicts = [], []
    users: dict[Any, str | None] = {}
    for position, event in enumerate(events):
        if not isinstance(event, dict):
            reason = event.reason if isinstance(event, Unusable) else "An event is a JSON object"
            fault = {"non_field_errors": [reason]}
            verdicts.append(Verdict(position, None, "refused", Code.VALIDATION_ERROR, fault))
            continue
        read = _read(position, event, users, now, between)
        if isinstance(read, Entry):
            entries.append(read)
        else:
            event_id = event.get("event_id")
            told = event_id if isinstance(event_id, str) else None
            verdicts.append(Verdict(position, told, "refused", Code.VALIDATION_ERROR, read))
    return entries, verdicts


def _read(
    position: int, event: dict[str, Any], users: dict[Any, str | None], now: datetime, between: Between
) -> Entry | Faults:
    get = event.get
    action: Any = get("action")
    quantity, content_id, event_id = get("quantity", 1), get("content_id"), get("event_id")
    metadata, occurred = get("metadata"), get("occurred_at")
    if type(quantity) is not int:
        quantity = plain_json(quantity)
    if metadata is not None:
        metadata = plain_json(metadata)
    faults = content_faults(action, quantity, content_id, metadata, event_id) or {}
    if not FIELDS.issuperset(event):
        faults |= unknown_names(event, FIELDS, "There is no such field")
    if event_id is None:
        faults["event_id"] = ["This field is required"]
    user_id = _user(get("user_id"), users)
    if user_id is None:
        faults["user_id"] = ["This is not a UUID"]
    occurred_at = now if occurred is None else _moment(occurred)
    if occurred_at is None:
        faults["occurred_at"] = ["A moment with its offset from UTC: 2026-03-15T12:00:00Z"]
    elif not between.earliest <= occurred_at <= between.latest:
        faults["occurred_at"] = [_out_of_range(between)]
    if faults or user_id is None or occurred_at is None:
        return faults
    told = None if metadata is None else metadata_json(metadata)
    digest = content_hash(action, quantity, content_id, told)
    return Entry(position, user_id, action, quantity, content_id, str(event_id), told, occurred_at, digest)


def _user(text: Any, known: dict[Any, str | None]) -> str | None:
    """One text for each user, however his id is written."""
    if not isinstance(text, str):
        return None
    if text not in known:
        found: uuid.UUID | None = parse_uuid(text)
        known[text] = str(found) if found else None
    return known[text]


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        # Far years have no place in another zone.
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _out_of_range(between: Between) -> str:
    days = (between.latest - between.earliest) // timedelta(days=1)
    return f"Not before {between.earliest.isoformat()} nor after {between.latest.isoformat()} ({days} days)"
