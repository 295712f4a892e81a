"""Which events of a batch are of priced actions, and which meters they raise, by the moment of each event.

Queries only where a plan in the batch prices one of its actions, and then as many for one event as for thousands.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from subscriptions.access import Access
from subscriptions.models import Subscription
from usage.batch.counts import Group, entries_of
from usage.batch.events import Entry
from usage.metering import Priced, Wanted, may_be_priced, priced_many


class MeterKey(NamedTuple):
    """A meter, as the table's unique constraint has it; its fields are in the order in which meters are locked."""

    user_id: uuid.UUID
    subscription_id: uuid.UUID | None
    price_id: uuid.UUID
    period_start: datetime


@dataclass(slots=True)
class MeterUnits:
    """The events of a batch that raise one meter, in the batch's order."""

    use: Priced
    entries: list[Entry] = field(default_factory=list)

    @property
    def units(self) -> int:
        return sum([entry.quantity for entry in self.entries])


#: Position → how the event is priced.
Uses = Mapping[int, Priced]


def uses_of(groups: Iterable[Group]) -> Uses:
    """How the events of priced actions are priced. No query where there are none; four, or five, however many."""
    asked = [group for group in groups if may_be_priced(group.access, group.entries[0].action)]
    if not asked:
        return {}
    # Access is decided by half of a subscription's columns; prices follow from the others too.
    keys = {group.subscription_id for group in asked if group.subscription_id is not None}
    whole = {str(each.pk): each for each in Subscription.objects.filter(pk__in=keys)}
    wanted, positions = [], []
    for group in asked:
        plan, row, status, until = group.access
        access = Access(plan, whole[row.id] if row else None, status, until)
        user_id = uuid.UUID(group.user_id)
        for entry in group.entries:
            wanted.append(Wanted(user_id, access, entry.action, entry.occurred_at))
            positions.append(entry.position)
    found = zip(positions, priced_many(wanted), strict=True)
    return {position: use for position, use in found if use is not None}


def meters_of(groups: Sequence[Group], uses: Uses) -> dict[MeterKey, MeterUnits]:
    """The meters that these events raise, in the order of their keys. None of the events is paid from credit."""
    if not uses:
        return {}
    found: dict[MeterKey, MeterUnits] = {}
    for entry in sorted(entries_of(groups), key=lambda entry: entry.position):
        use = uses.get(entry.position)
        if use is not None:
            key = MeterKey(use.user_id, use.subscription_id, use.price.pk, use.cycle.start)
            found.setdefault(key, MeterUnits(use)).entries.append(entry)
    return {key: found[key] for key in sorted(found, key=_as_in_the_table)}


def _as_in_the_table(key: MeterKey) -> tuple[Any, ...]:
    """PostgreSQL has what is null last."""
    return key.user_id, key.subscription_id is None, key.subscription_id or key.user_id, key.price_id, key.period_start


def beyond_included(meters: Mapping[MeterKey, MeterUnits], used: Mapping[MeterKey, int]) -> dict[int, str]:
    """Position → the limit that the event went beyond, where no more is to be had than what is included."""
    passed = {}
    for key, meter in meters.items():
        cap = meter.use.cap
        if cap is None or used[key] <= cap:
            continue
        running = used[key] - meter.units
        for entry in meter.entries:
            running += entry.quantity
            if running > cap:
                passed[entry.position] = meter.use.state(running).limit
    return passed
