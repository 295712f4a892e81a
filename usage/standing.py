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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from weakref import WeakValueDictionary

from django.conf import settings
from django.db import connection

from accounts.authentication import proof_wanted
from subscriptions.access import Access, access
from usage import limits, selectors
from usage.limits import Grant
from usage.statement import Counters

#: Of so many users at most, in each process: some 2 kB each. Then the first that came make room.
KEPT = 10_000
#: Of so many actions, each of users with the same grants, in one minute: some 6 MB in each process.
COUNTERS_KEPT = 1024

_READ = "SELECT is_active, password, usage_standing(id, %s) FROM users WHERE id = %s"
_kept: dict[uuid.UUID, Standing] = {}
_rules: WeakValueDictionary[str, Rules] = WeakValueDictionary()
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


class Rules:
    """What all users with the same grants have in common. It is worked out once a minute for each action."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self.grants = [replace(grant, features=dict(grant.features)) for grant in grants]

    def counters(self, action: str, moment: datetime) -> Counters | None:
        """What one unit of `action` raises at `moment`; None where the action is not allowed, or nothing is."""
        return _counters(self, action, int(moment.timestamp()) // 60)


@lru_cache(maxsize=COUNTERS_KEPT)
def _counters(rules: Rules, action: str, minute: int) -> Counters | None:
    """`minute`: since 1970. No zone changes its date within one: offsets have been whole minutes since 1972."""
    if not limits.allows(rules.grants, action):
        return None
    return Counters.of(limits.counted(rules.grants, action, datetime.fromtimestamp(minute * 60, UTC)))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user is entitled to, best first; as of `read_at` (business time). `entries` are the rows, where just read.

    `proof` is what a token of his must show (`accounts.authentication`); None where the account is closed.
    """

    mark: str
    proof: str | None
    members: Sequence[Member]
    rules: Rules
    read_at: datetime
    entries: Sequence[Access] = ()

    def member(self, counters: Counters) -> Member:
        """The access in whose family the action itself is counted."""
        return next(each for each in self.members if each.family == counters.slots[0].family)

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
        rules=_rules_of([selectors.grant(entry) for entry in entries]),
        read_at=now,
        entries=entries,
    )
    # Rows that are not committed can be written once more under the same mark.
    if entries and not connection.in_atomic_block:
        _keep(user_id, replace(found, entries=()))
    return found


def _keep(user_id: uuid.UUID, standing: Standing) -> None:
    with _lock:
        _kept.pop(user_id, None)
        if len(_kept) >= KEPT:
            del _kept[next(iter(_kept))]
        _kept[user_id] = standing


def _rules_of(grants: Sequence[Grant]) -> Rules:
    key = repr(grants)  # a switch and a number may be equal in Python
    rules = _rules.get(key)
    if rules is None:
        rules = _rules[key] = Rules(grants)
    return rules


def _member(entry: Access) -> Member:
    subscription, plan = entry.subscription, entry.plan
    if subscription is None:
        return Member(plan.family, None, entry.until, frozenset(plan.priced_actions))
    priced = None if subscription.had_priced_actions else frozenset(plan.priced_actions)
    return Member(subscription.family, subscription.pk, entry.until, priced)
