"""Logs what has happened already, for many users at once: each event once, a bad one stops no other."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import User
from payflow.core.errors import Code, DomainError, PayloadTooLarge
from subscriptions.access import AccessRow, access_of
from usage.alerts import Raised, alerts_emit, near_of
from usage.batch import tables
from usage.batch.counts import Group, Places, beyond, counts_of, entries_of, groups_of, limited_of
from usage.batch.events import Between, Entry, Verdict, entries_read
from usage.batch.meters import Uses, beyond_included, meters_of, uses_of
from usage.cache import answers_drop
from usage.errors import EventMismatch, NotEntitled
from usage.services import usage_log

MAX_EVENTS = 5000


@dataclass(frozen=True, slots=True)
class Batch:
    """How many events were counted now, and the verdicts on all that were not simply counted, by position."""

    accepted: int
    verdicts: Sequence[Verdict]


def usage_batch(*, events: Sequence[Any], now: datetime) -> Batch:
    """Counts and logs up to MAX_EVENTS events of many users, each once, however often the batch is sent again.

    An event is `{user_id, action, quantity?, content_id?, metadata?, event_id, occurred_at?}`. It tells what *has*
    happened, so it is counted also beyond a limit (`over_limit`), into the windows of its `occurred_at`; who has access
    is decided for now. A known `event_id`, of this batch, another, or a single use, counts nothing.

    What is charged on invoices is counted on the meter of its moment in the same transaction. What is paid from credit is
    used one by one after it (`usage_log`), each in a transaction of its own: refused where there is too little.

    Raises PayloadTooLarge for more than MAX_EVENTS.
    """
    if len(events) > MAX_EVENTS:
        raise PayloadTooLarge(f"At most {MAX_EVENTS} events a call", details={"max_events": MAX_EVENTS})
    entries, verdicts = entries_read(events, now=now, between=_between(now))
    entries, repeated = _first_of_each(entries)
    groups, refused = _placed(entries, now)
    accepted, written = _write(groups, refused, now) if entries else (0, [])
    verdicts += written
    told = {verdict.position: verdict for verdict in verdicts}
    verdicts += [_repeated(entry, first, told.get(first.position)) for entry, first in repeated]
    return Batch(accepted, sorted(verdicts, key=lambda verdict: verdict.position))


#: What does not count unless it is known already, and why, by position.
_Refused = Mapping[int, tuple[Entry, Verdict]]


def _between(now: datetime) -> Between:
    return Between(
        now - timedelta(days=settings.USAGE_LATE_DAYS), now + timedelta(minutes=settings.USAGE_AHEAD_MINUTES)
    )


def _first_of_each(entries: Sequence[Entry]) -> tuple[list[Entry], list[tuple[Entry, Entry]]]:
    """The first entry under each event's key, and the later ones, each with its first."""
    firsts: dict[tuple[str, str], Entry] = {}
    repeated = []
    for entry in entries:
        first = firsts.setdefault((entry.user_id, entry.event_id), entry)
        if first is not entry:
            repeated.append((entry, first))
    return list(firsts.values()), repeated


def _repeated(entry: Entry, first: Entry, verdict: Verdict | None) -> Verdict:
    """Of an event that stands twice in one batch: what the first is refused for, the second is too."""
    if entry.digest != first.digest:
        return _known(entry, same=False)
    if verdict is not None and verdict.verdict == "refused":
        return Verdict(entry.position, entry.event_id, "refused", verdict.code, verdict.details)
    return _known(entry, same=True)


def _placed(entries: Sequence[Entry], now: datetime) -> tuple[list[Group], _Refused]:
    access = _access(dict.fromkeys(entry.user_id for entry in entries), now)
    places = Places(access)
    refused = {}
    for entry in entries:
        own = access.get(entry.user_id)
        if not own:
            refused[entry.position] = (entry, _no_access(entry, is_known=own is not None))
        elif not places.take(entry):
            refused[entry.position] = (entry, _not_entitled(entry, NotEntitled.switched_off(entry.action)))
    return places.groups, refused


def _access(user_ids: Collection[str], now: datetime) -> dict[str, list[AccessRow]]:
    """Of each user that there is what he has access to; four queries at most."""
    found = access_of(user_ids, now)
    doubtful = [text for text, own in found.items() if not own or own[0].subscription is None]
    if doubtful:
        known = {str(key) for key in User.objects.filter(pk__in=doubtful).values_list("pk", flat=True)}
        for text in doubtful:
            if text not in known:
                del found[text]
    return found


def _no_access(entry: Entry, *, is_known: bool) -> Verdict:
    if is_known:
        return _not_entitled(entry, NotEntitled.no_access())
    fault = {"user_id": ["There is no such user"]}
    return Verdict(entry.position, entry.event_id, "refused", Code.VALIDATION_ERROR, fault)


def _not_entitled(entry: Entry, error: NotEntitled) -> Verdict:
    return Verdict(entry.position, entry.event_id, "refused", error.code, error.details)


def _known(entry: Entry, *, same: bool) -> Verdict:
    if same:
        return Verdict(entry.position, entry.event_id, "duplicate")
    return Verdict(entry.position, entry.event_id, "refused", EventMismatch.code, {"event_id": [EventMismatch.message]})


def _write(groups: list[Group], refused: _Refused, now: datetime) -> tuple[int, list[Verdict]]:
    """One transaction: the log, everything that is counted, the keys, the alerts; then what is paid from credit, event by
    event. Returns how many were counted.
    """
    entries = {entry.position: entry for entry in entries_of(groups)}
    entries |= {position: entry for position, (entry, _) in refused.items()}
    uses = uses_of(groups)
    drawn = [position for position, use in uses.items() if use.is_drawn]
    while True:
        try:
            with transaction.atomic():
                known = tables.events_known(list(entries.values()))
                counted = groups_of(groups, {*known, *drawn}, without=True) if known or drawn else groups
                over = _count(counted, uses, now) if counted else {}
            break
        except tables.WrittenByOthers:
            continue  # each time more of them are known
    verdicts = [why for position, (_, why) in refused.items() if position not in known]
    verdicts += [_known(entries[position], same=same) for position, same in known.items()]
    verdicts += [_over_limit(entries[position], names) for position, names in over.items()]
    used = [_used(entries[position], now) for position in sorted(drawn) if position not in known]
    uncounted = [verdict for verdict in used if verdict is not None]
    return len(entries) - len(refused.keys() | known.keys()) - len(uncounted), verdicts + uncounted


def _count(groups: list[Group], uses: Uses, now: datetime) -> dict[int, list[str]]:
    """Logs and counts the groups. Returns by position the limits that were passed. Raises WrittenByOthers."""
    ids = tables.new_ids(groups)
    counts, meters = counts_of(groups), meters_of(groups, uses)
    tables.log_copy(groups, ids, now=now)
    limited = limited_of(counts, tables.counters_raise(counts))
    metered = tables.meters_raise(meters, now=now)
    tables.events_insert(groups, ids, now=now)
    answers_drop({uuid.UUID(group.user_id) for group in groups})
    alerts_emit(
        [
            Raised(
                one.counts.user_id,
                one.counts.groups[one.counts.layout.sources[one.position][0]].subscription_id,
                one.slot,
                one.used,
                one.counts.units[one.position],
            )
            for one in near_of(limited)
        ],
        at=now,
    )
    over = beyond(limited)
    for position, name in beyond_included(meters, metered).items():
        over.setdefault(position, []).append(name)
    return over


def _used(entry: Entry, now: datetime) -> Verdict | None:
    """Uses what is paid from credit, as a use of its own; the verdict where it was not simply counted."""
    try:
        usage = usage_log(
            user_id=uuid.UUID(entry.user_id),
            action=entry.action,
            quantity=entry.quantity,
            content_id=entry.content_id,
            metadata=json.loads(entry.metadata) if entry.metadata is not None else None,
            event_id=entry.event_id,
            occurred_at=entry.occurred_at,
            now=now,
        )
    except DomainError as error:
        return Verdict(entry.position, entry.event_id, "refused", error.code, error.details)
    return _known(entry, same=True) if usage.replayed else None


def _over_limit(entry: Entry, names: list[str]) -> Verdict:
    return Verdict(entry.position, entry.event_id, "over_limit", details={"limits": names})
