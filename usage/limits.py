"""From what a user is entitled to, to the counters that an action raises and the limits on them. Pure.

Several families: switches OR, limits max (`plans.features.merge_features`), and one counter for each limit, so that what
an entitlement shows is what the log checks. An action counts in the family of the first access whose features name it,
else of the first access; the totals over all actions (`*`) count in the family of the first access. Windows follow the
zone of the subscription of that family.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple, cast

from plans import features as plan_features
from plans.features import UNLIMITED, Features, Kind, action_limits, kind, merge_features
from usage.models import ALL_ACTIONS, Window
from usage.windows import span_at

#: The windows that every action is counted in, limited or not.
ACTION_WINDOWS = (Window.DAY, Window.MONTH, Window.ALL)
TOTAL_WINDOWS = (Window.DAY, Window.MONTH)
#: The limits over all actions carry the names of the plan's own columns.
TOTALS = {Window.DAY: "max_usage_per_day", Window.MONTH: "max_usage_per_month"}
_SUFFIXES = {"_per_day": Window.DAY, "_per_month": Window.MONTH}


@dataclass(frozen=True, slots=True)
class Grant:
    """What one access gives, best first in every list. A total of None is no limit."""

    family: str
    timezone: str
    features: Features
    max_usage_per_day: int | None
    max_usage_per_month: int | None


class Limit(NamedTuple):
    """`name` is the feature's key, or the plan's column for a total. `max` None is no limit."""

    name: str
    action: str
    window: str
    max: int | None


class Slot(NamedTuple):
    """One counter, found by its key, and the limit on it (`name` None: it only counts)."""

    family: str
    action: str
    window: str
    local_date: date
    resets_at: datetime | None
    name: str | None
    max: int | None


@dataclass(frozen=True, slots=True)
class LimitState:
    """How far a limit is used. The same shape in entitlements, answers of the log and refusals."""

    limit: str
    action: str
    window: str
    max: int | None
    used: int
    remaining: int | None
    resets_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        return {
            "limit": self.limit,
            "action": self.action,
            "window": self.window,
            "max": self.max,
            "used": self.used,
            "remaining": self.remaining,
            "resets_at": self.resets_at,
        }


def allows(grants: Sequence[Grant], action: str) -> bool:
    """False where there is no grant, or where the feature of the action's own name is switched off."""
    return bool(grants) and merge_features(grant.features for grant in grants).get(action) is not False


def limits_of(grants: Sequence[Grant], action: str) -> list[Limit]:
    """The limits that one unit of `action` meets: its own (those of value -1 too, as None), then the totals."""
    features = merge_features(grant.features for grant in grants)
    finite = action_limits(features, action)
    own = []
    for window in ACTION_WINDOWS:
        name = _feature_name(action, window)
        if _key(window) in finite or _is_unlimited(features.get(name)):
            own.append(Limit(name, action, window, finite.get(_key(window))))
    return own + _totals(grants)


def limits_all(grants: Sequence[Grant]) -> list[Limit]:
    """Every limit there is: each numeric feature, in the features' order, then the totals. None without a grant."""
    if not grants:
        return []
    features = merge_features(grant.features for grant in grants)
    own = []
    for key, value in features.items():
        if typed(value) is Kind.LIMIT:
            action, window = _limited(key)
            own.append(Limit(key, action, window, action_limits(features, action).get(_key(window))))
    return own + _totals(grants)


def counting(grants: Sequence[Grant], action: str) -> Grant:
    """The grant in whose family, and by whose calendar, the action (`*`: all of them) counts."""
    if action == ALL_ACTIONS:
        return grants[0]
    keys = {_feature_name(action, window) for window in ACTION_WINDOWS}
    return next((grant for grant in grants if not keys.isdisjoint(grant.features)), grants[0])


def counted(grants: Sequence[Grant], action: str, now: datetime) -> list[Slot]:
    """The five counters that one unit of `action` raises now, with the limits on those that have one."""
    limits = {(limit.action, limit.window): limit for limit in limits_of(grants, action)}
    keys = [(action, window) for window in ACTION_WINDOWS] + [(ALL_ACTIONS, window) for window in TOTAL_WINDOWS]
    return [_slot(grants, limits.get((name, window)) or Limit("", name, window, None), now) for name, window in keys]


def limited(grants: Sequence[Grant], now: datetime) -> list[Slot]:
    """The counters behind every limit there is, in the order of `limits_all`."""
    return [_slot(grants, limit, now) for limit in limits_all(grants)]


def state(slot: Slot, used: int) -> LimitState:
    """A limit may have been lowered below what is used: nothing remains then."""
    remaining = None if slot.max is None else max(0, slot.max - used)
    return LimitState(slot.name or "", slot.action, slot.window, slot.max, used, remaining, slot.resets_at)


def typed(value: Any) -> Kind | None:
    """What a feature value is, None for what should not be in the column."""
    try:
        return kind(value)
    except ValueError:
        return None


def _slot(grants: Sequence[Grant], limit: Limit, now: datetime) -> Slot:
    grant = counting(grants, limit.action)
    span = span_at(limit.window, now, grant.timezone)
    return Slot(
        grant.family, limit.action, limit.window, span.local_date, span.resets_at, limit.name or None, limit.max
    )


def _totals(grants: Sequence[Grant]) -> list[Limit]:
    return [
        Limit(name, ALL_ACTIONS, window, _greatest(getattr(grant, name) for grant in grants))
        for window, name in TOTALS.items()
    ]


def _greatest(limits: Iterable[int | None]) -> int | None:
    values = list(limits)
    finite = [value for value in values if value is not None]
    return max(finite) if len(finite) == len(values) else None


def _key(window: Window) -> plan_features.Window:
    return cast(plan_features.Window, window.value)


def _feature_name(action: str, window: Window) -> str:
    return action if window is Window.ALL else f"{action}_per_{window.value}"


def _limited(key: str) -> tuple[str, Window]:
    for suffix, window in _SUFFIXES.items():
        if key.endswith(suffix) and key != suffix:
            return key.removesuffix(suffix), window
    return key, Window.ALL


def _is_unlimited(value: Any) -> bool:
    return not isinstance(value, bool) and value == UNLIMITED
