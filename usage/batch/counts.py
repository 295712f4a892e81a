"""Which counters the events of a batch raise, by how much, and which events go beyond a limit. Pure.

The rules are those of a single use (`usage.limits`), asked once for each combination of plans, action and local dates: most
users of a batch have one plan in common and use the same few actions on the same day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from subscriptions.access import AccessRow
from usage import limits
from usage.batch.events import Entry
from usage.limits import Grant, Slot
from usage.models import ALL_ACTIONS
from usage.selectors import grant


class Key(NamedTuple):
    """A user's counter; its fields are in the order in which counters are locked everywhere."""

    family: str
    action: str
    window: str
    local_date: date


class Place:
    """The five counters that an action raises on one day, for all users with the same plans."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.family = slots[0].family
        self.slots = {Key(slot.family, slot.action, str(slot.window), slot.local_date): slot for slot in slots}


class Group(NamedTuple):
    """The events of one user that count in the same place, by one access."""

    user_id: str
    place: Place
    access: AccessRow
    entries: list[Entry]

    @property
    def subscription_id(self) -> str | None:
        return self.access.subscription.id if self.access.subscription else None


class Layout:
    """The counters of users whose events lie in the same places: in key order, each with the places that raise it."""

    def __init__(self, places: Sequence[Place]) -> None:
        slots = {key: slot for place in places for key, slot in place.slots.items()}
        self.keys = sorted(slots)
        self.sources = [[n for n, place in enumerate(places) if key in place.slots] for key in self.keys]
        self.limited = [
            (position, slots[key])
            for position, key in enumerate(self.keys)
            if slots[key].max is not None and slots[key].name
        ]


class UserCounts(NamedTuple):
    """All that a batch adds to the counters of one user: `units` in the order of the layout's keys."""

    user_id: str
    layout: Layout
    groups: Sequence[Group]
    units: Sequence[int]

    def entries(self, position: int) -> list[Entry]:
        """Those that raise the counter at this position, in the batch's order."""
        found = [entry for n in self.layout.sources[position] for entry in self.groups[n].entries]
        return sorted(found, key=lambda entry: entry.position)


class Limited(NamedTuple):
    """A counter with a limit on it, after everything was added."""

    counts: UserCounts
    position: int
    slot: Slot
    used: int


class Places:
    """Gathers the events of users with this access into groups, in the order in which they come."""

    def __init__(self, access: Mapping[str, list[AccessRow]]) -> None:
        self._access = access
        self._standings: dict[tuple[object, ...], _Standing] = {}
        self._users: dict[str, _Standing] = {}
        self._groups: dict[tuple[str, Place], Group] = {}

    @property
    def groups(self) -> list[Group]:
        return list(self._groups.values())

    def take(self, entry: Entry) -> bool:
        """False where the plan switches the action off. The user must have access."""
        user_id = entry.user_id
        standing = self._users.get(user_id)
        if standing is None:
            standing = self._users[user_id] = self._standing(self._access[user_id])
        place = standing.place(entry.action, entry.occurred_at)
        if place is None:
            return False
        group = self._groups.get((user_id, place))
        if group is None:
            group = self._groups[user_id, place] = Group(user_id, place, self._counting(user_id, place.family), [])
        group.entries.append(entry)
        return True

    def _standing(self, entries: list[AccessRow]) -> _Standing:
        grants = [grant(each) for each in entries]
        key = tuple([(each.plan.pk, one.family, one.timezone) for each, one in zip(entries, grants, strict=True)])
        if key not in self._standings:
            self._standings[key] = _Standing(grants)
        return self._standings[key]

    def _counting(self, user_id: str, family: str) -> AccessRow:
        return next(each for each in self._access[user_id] if (each.subscription or each.plan).family == family)


class _Standing:
    """What all users with the same plans, in the same order and zones, have in common."""

    def __init__(self, grants: list[Grant]) -> None:
        self._grants = grants
        self._zones: dict[str, tuple[tzinfo, tzinfo] | None] = {}
        self._places: dict[tuple[str, date, date], Place] = {}

    def place(self, action: str, at: datetime) -> Place | None:
        """None where the action is switched off. `at` is in UTC."""
        if action not in self._zones:
            self._zones[action] = self._zones_of(action)
        zones = self._zones[action]
        if zones is None:
            return None
        own, totals = zones
        today = at.date() if own is UTC else at.astimezone(own).date()
        # What `counted` answers is the same for a whole local day.
        key = (action, today, today if totals is own else at.astimezone(totals).date())
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(limits.counted(self._grants, action, at))
        return place

    def _zones_of(self, action: str) -> tuple[tzinfo, tzinfo] | None:
        if not limits.allows(self._grants, action):
            return None
        own, totals = (_zone(limits.counting(self._grants, name).timezone) for name in (action, ALL_ACTIONS))
        return own, totals


def counts_of(groups: Iterable[Group]) -> list[UserCounts]:
    """Every counter that these groups raise, in the order of their keys: by user, then by the layout's."""
    by_user: dict[str, list[Group]] = {}
    for group in groups:
        by_user.setdefault(group.user_id, []).append(group)
    layouts: dict[tuple[Place, ...], Layout] = {}
    counts = []
    for user_id in sorted(by_user):
        own = by_user[user_id]
        places = tuple([group.place for group in own])
        layout = layouts.get(places)
        if layout is None:
            layout = layouts[places] = Layout(places)
        units = [sum([entry.quantity for entry in group.entries]) for group in own]
        counts.append(
            UserCounts(user_id, layout, own, [sum([units[n] for n in sources]) for sources in layout.sources])
        )
    return counts


def groups_of(groups: Iterable[Group], positions: Iterable[int], *, without: bool = False) -> list[Group]:
    """What is left of the groups of the events at these positions, or `without` them."""
    chosen = frozenset(positions)
    left = (
        group._replace(entries=[entry for entry in group.entries if (entry.position in chosen) is not without])
        for group in groups
    )
    return [group for group in left if group.entries]


def limited_of(counts: Sequence[UserCounts], used: Sequence[Sequence[int]]) -> list[Limited]:
    """The counters with limits on them. `used` is that of each user's counters after the units were added."""
    return [
        Limited(one, position, slot, own[position])
        for one, own in zip(counts, used, strict=True)
        for position, slot in one.layout.limited
    ]


def beyond(limited: Iterable[Limited]) -> dict[int, list[str]]:
    """Position → the limits beyond which that event went, taken in the batch's order."""
    passed: dict[int, list[str]] = {}
    for counts, position, slot, used in limited:
        if slot.max is None or slot.name is None or used <= slot.max:
            continue
        running = used - counts.units[position]
        for entry in counts.entries(position):
            running += entry.quantity
            if running > slot.max:
                passed.setdefault(entry.position, []).append(slot.name)
    return passed


def entries_of(groups: Iterable[Group]) -> Iterator[Entry]:
    for group in groups:
        yield from group.entries


def _zone(name: str) -> tzinfo:
    """One object for each zone; UTC's own needs no arithmetic."""
    return UTC if name == "UTC" else ZoneInfo(name)
