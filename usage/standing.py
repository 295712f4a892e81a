"""How a user stands: what he is entitled to, kept in this process together with a mark that tells whether it still is so.

The mark (SQL function `usage_standing`, migration 0004) is another one as soon as the account, a subscription of his, one of
their plans or the plan of everybody is written. It is read first, and the rows that it stands for after it; the statement
that counts compares it again, in the database, before it counts anything. So what is kept may be old, but nothing is
counted by it then, and nobody has to be told of a change.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.conf import settings
from django.db import connection

from accounts.authentication import proof_wanted
from subscriptions.access import Access, access
from usage import limits, selectors
from usage.limits import Grant
from usage.statement import Counters

#: Of so many users at most, in each process: some 3 kB each. Then the first that came make room.
KEPT = 10_000
#: Of so many actions of each at most: clients invent their names.
ACTIONS_KEPT = 8

_READ = "SELECT is_active, password, usage_standing(id, %s) FROM users WHERE id = %s"
_kept: dict[uuid.UUID, Standing] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Member:
    """One access, without its rows."""

    family: str
    subscription_id: uuid.UUID | None
    until: datetime | None
    #: None: any action may have one.
    priced_actions: frozenset[str] | None

    def may_price(self, action: str) -> bool:
        return self.priced_actions is None or action in self.priced_actions


@dataclass(frozen=True, slots=True)
class Counting:
    """What a unit of an action raises, and by which access: that in whose family the action itself is counted."""

    counters: Counters
    member: Member


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user is entitled to, best first; as of `read_at` (business time). `entries` are the rows, where just read.

    `proof` is what a token of his must show (`accounts.authentication`); None where the account is closed.
    """

    mark: str
    proof: str | None
    members: Sequence[Member]
    grants: Sequence[Grant]
    read_at: datetime
    entries: Sequence[Access] = ()
    _counting: dict[tuple[str, int], Counting] = field(default_factory=dict, compare=False, repr=False)

    def counting(self, action: str, moment: datetime) -> Counting:
        """What one unit of `action` raises at `moment`. Of somebody who has access."""
        # No zone changes its date within a minute of UTC: offsets have been whole minutes since 1972.
        key = (action, int(moment.timestamp()) // 60)
        if (kept := self._counting.get(key)) is not None:
            return kept
        slots = limits.counted(self.grants, action, moment)
        found = Counting(Counters.of(slots), next(each for each in self.members if each.family == slots[0].family))
        if len(self._counting) >= ACTIONS_KEPT:
            self._counting.clear()
        self._counting[key] = found
        return found

    def holds(self, now: datetime) -> bool:
        """Has time alone changed nothing of it?"""
        return self.read_at <= now and all(each.until is None or now < each.until for each in self.members)


def standing_find(user_id: uuid.UUID, now: datetime) -> Standing | None:
    """What is kept of the user, if it says anything about `now`. Whoever acts by it has its mark compared."""
    kept = _kept.get(user_id)
    return kept if kept is not None and kept.holds(now) else None


def standing_read(user_id: uuid.UUID, now: datetime) -> Standing | None:
    """From the tables: two queries, and one more for the plan of everybody; None where there is no such user.

    It is kept for the next time where he has access.
    """
    with connection.cursor() as cursor:
        cursor.execute(_READ, [settings.PAYFLOW_DEFAULT_PLAN, user_id])
        row = cursor.fetchone()
    if row is None:
        return None
    is_active, password, mark = row
    entries = access(user_id, now)
    found = Standing(
        mark=mark,
        proof=proof_wanted(is_active=is_active, password=password),
        members=[_member(entry) for entry in entries],
        grants=[selectors.grant(entry) for entry in entries],
        read_at=now,
        entries=entries,
    )
    # Rows that are not committed can be written once more under the same mark.
    if entries and not connection.in_atomic_block:
        _keep(user_id, replace(found, entries=(), _counting={}))
    return found


def _keep(user_id: uuid.UUID, standing: Standing) -> None:
    with _lock:
        _kept.pop(user_id, None)
        if len(_kept) >= KEPT:
            del _kept[next(iter(_kept))]
        _kept[user_id] = standing


def _member(entry: Access) -> Member:
    subscription, plan = entry.subscription, entry.plan
    if subscription is None:
        return Member(plan.family, None, entry.until, frozenset(plan.priced_actions))
    priced = None if subscription.had_priced_actions else frozenset(plan.priced_actions)
    return Member(subscription.family, subscription.pk, entry.until, priced)
