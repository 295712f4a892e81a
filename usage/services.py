"""The one way to use something: take a unit if there is one left, and say what remains."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from payflow.core.errors import ValidationFailed
from payflow.core.ids import uuid7
from payflow.core.money import Money
from payflow.core.redis import Done
from usage import limits, metering, selectors, statement
from usage.cache import use_ended
from usage.content import content_faults, content_hash, metadata_json
from usage.drawing import draw_asked, usage_draw
from usage.errors import EventMismatch, NotEntitled, UsageLimitExceeded
from usage.limits import LimitState
from usage.metering import Priced
from usage.models import UsageEvent, Window
from usage.standing import Member, Standing, standing_find, standing_read


@dataclass(frozen=True, slots=True)
class Usage:
    """What was counted. `id` is None where it was only asked; `limits` are as they stood right after it.

    `charge` is what was drawn from credit, None where nothing is drawn for this action.
    """

    id: uuid.UUID | None
    action: str
    quantity: int
    occurred_at: datetime
    limits: Sequence[LimitState]
    replayed: bool = False
    charge: Money | None = None

    @property
    def remaining(self) -> int | None:
        """Of the limit that has least left; None where there is no limit."""
        return min((limit.remaining for limit in self.limits if limit.remaining is not None), default=None)


def usage_log(
    *,
    user_id: uuid.UUID,
    action: str,
    quantity: int = 1,
    content_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    event_id: str | None = None,
    dry_run: bool = False,
    occurred_at: datetime | None = None,
    now: datetime,
) -> Usage:
    """Takes `quantity` units of `action`, all or none. With `dry_run` asks only, and answers as it would.

    The same `event_id` of a user counts once, for ever: again with the same content it gets the first answer
    (`replayed`), whatever has become of the limits and the subscription since.

    With `occurred_at` it counts in the windows and the cycle, and by the price, of that moment; who has access is decided
    for now, and credit is taken from what there is now.

    What the plan prices is counted on its meter too, or paid from credit in the same transaction (`usage.drawing`).

    Raises ValidationFailed (also for an unknown user), NotEntitled, UsageLimitExceeded, CreditExhausted, and EventMismatch
    for a known event with another content; nothing is written then.
    """
    request = _request(user_id, action, quantity, content_id, metadata, event_id, occurred_at, now)
    if not dry_run and (kept := standing_find(user_id, now)) and (usage := _by_what_is_kept(request, kept)):
        return usage
    return _asked(request) if dry_run else _by_what_is_read(request)


def usage_log_known(
    *,
    user_id: uuid.UUID,
    proof: str,
    action: str,
    quantity: int = 1,
    content_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    event_id: str | None = None,
    errand: Done | None = None,
    now: datetime,
) -> Usage | None:
    """`usage_log` for whoever shows `proof` to be the user, without a look at the account (`usage.standing`).

    `errand`: the `usage.cache.use_errand` that he came in by. None, with nothing counted, where nothing is kept of him, or it
    does not hold any more: then somebody has to look. Raises what `usage_log` raises.
    """
    kept = standing_find(user_id, now)
    if kept is None or kept.proof != proof:
        return None
    request = _request(user_id, action, quantity, content_id, metadata, event_id, None, now)
    return _by_what_is_kept(request, kept, errand)


@dataclass(frozen=True, slots=True)
class _Request:
    """A use that somebody wants to make; `moment` is when it was. `told` is its metadata as JSON."""

    user_id: uuid.UUID
    action: str
    quantity: int
    content_id: str | None
    told: str | None
    event_id: str | None
    digest: str
    moment: datetime
    now: datetime


def _request(
    user_id: uuid.UUID,
    action: str,
    quantity: int,
    content_id: str | None,
    metadata: Mapping[str, Any] | None,
    event_id: str | None,
    occurred_at: datetime | None,
    now: datetime,
) -> _Request:
    """Raises ValidationFailed."""
    if faults := content_faults(action, quantity, content_id, metadata, event_id):
        raise ValidationFailed(details=faults)
    told = metadata_json(metadata) if metadata is not None else None
    digest = content_hash(action, quantity, content_id, told) if event_id is not None else ""
    return _Request(user_id, action, quantity, content_id, told, event_id, digest, occurred_at or now, now)


def _by_what_is_kept(request: _Request, kept: Standing, errand: Done | None = None) -> Usage | None:
    """None where it takes more than what is kept, or that holds no more: a refusal is for what was just read."""
    counters = kept.rules.counters(request.action, request.moment)
    if counters is None or (member := kept.member(counters)).may_price(request.action):
        return None
    try:
        return _counted(request, counters, member, None, mark=kept.mark, errand=errand)
    except statement.StandingChanged:
        return None


def _by_what_is_read(request: _Request) -> Usage:
    try:
        counters, member, use = _looked_up(request)
    except NotEntitled:
        if stored := _stored(request):
            return stored
        raise
    return _counted(request, counters, member, use)


def _looked_up(request: _Request) -> tuple[statement.Counters, Member, Priced | None]:
    """What it raises, by which access, and its price. Raises ValidationFailed (an unknown user), NotEntitled."""
    standing = standing_read(request.user_id, request.now)
    if standing is None:
        raise _unknown_user()
    if not standing.entries:
        raise NotEntitled.no_access()
    counters = standing.rules.counters(request.action, request.moment)
    if counters is None:
        raise NotEntitled.switched_off(request.action)
    member = standing.member(counters)
    entry = standing.entries[standing.members.index(member)]
    return counters, member, metering.priced(request.user_id, entry, request.action, request.moment)


def _counted(
    request: _Request,
    counters: statement.Counters,
    member: Member,
    use: Priced | None,
    *,
    mark: str | None = None,
    errand: Done | None = None,
) -> Usage:
    row = statement.Row(
        id=uuid7(),
        user_id=request.user_id,
        subscription_id=member.subscription_id,
        action=request.action,
        quantity=request.quantity,
        content_id=request.content_id,
        metadata=request.told,
        event_id=request.event_id,
        request_hash=request.digest,
        occurred_at=request.moment,
        standing=mark,
    )
    try:
        used, charge = _written(row, counters, use, request.now)
    except statement.EventKnown:
        stored = _stored(request)
        assert stored is not None, "events are never deleted"
        return stored
    except statement.LimitPassed as passed:
        # The twin of this very event may have taken the last unit a moment ago.
        if stored := _stored(request):
            return stored
        raise UsageLimitExceeded(_passed(passed, counters, use), now=request.now) from passed
    except statement.UserUnknown as error:
        raise _unknown_user() from error
    use_ended(request.user_id, errand)
    after = [limits.state(slot, count) for slot, count in zip(counters.slots, used, strict=True) if slot.name]
    return Usage(row.id, row.action, row.quantity, row.occurred_at, after, charge=charge)


def _written(
    row: statement.Row, counters: statement.Counters, use: Priced | None, now: datetime
) -> tuple[Sequence[int], Money | None]:
    """What is used of each slot after it, and what was drawn from credit."""
    if use is None:
        return statement.usage_write(row, counters, now), None
    if use.is_drawn:
        return usage_draw(row, counters, use, now)
    meter = metering.meter_of(use, at=now)
    return statement.usage_write(row, counters, now, metered=statement.Metered(meter.pk, cap=use.cap)), None


def _passed(passed: statement.LimitPassed, counters: statement.Counters, use: Priced | None) -> LimitState:
    """The state of the limit that refused."""
    if passed.window == Window.PERIOD and use is not None:
        return use.state(passed.used)
    slot = next(slot for slot in counters.slots if (slot.action, slot.window) == (passed.action, passed.window))
    return limits.state(slot, passed.used)


def _stored(request: _Request) -> Usage | None:
    """The answer that the event got before. Raises EventMismatch."""
    if request.event_id is None:
        return None
    event = UsageEvent.objects.filter(user_id=request.user_id, event_id=request.event_id).first()
    if event is None:
        return None
    if event.request_hash != request.digest:
        raise EventMismatch
    if "limits" not in event.answer:
        # It came by a batch, which answers no limits: they are told as they stand.
        return replace(_told(request, {**event.answer, "limits": []}, replayed=True), limits=_limits_now(request))
    return _told(request, event.answer, replayed=True)


def _limits_now(request: _Request) -> list[LimitState]:
    standing = standing_read(request.user_id, request.now)
    counters = standing.rules.counters(request.action, request.now) if standing else None
    if counters is None:
        return []
    slots = [slot for slot in counters.slots if slot.name]
    used = selectors.counters(request.user_id, slots) or []
    return [limits.state(slot, count) for slot, count in zip(slots, used, strict=True)]


def _told(request: _Request, answer: Mapping[str, Any], *, replayed: bool = False) -> Usage:
    return Usage(
        id=uuid.UUID(answer["id"]),
        action=request.action,
        quantity=request.quantity,
        occurred_at=datetime.fromisoformat(answer["occurred_at"]),
        limits=[
            LimitState(**{**entry, "resets_at": _moment(entry["resets_at"])})  # the statement's keys are its fields
            for entry in answer["limits"]
        ],
        replayed=replayed,
        charge=Money(Decimal(charge["amount"]), charge["currency"]) if (charge := answer.get("charge")) else None,
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _asked(request: _Request) -> Usage:
    """What the statement would answer."""
    if stored := _stored(request):
        return stored
    counters, _, use = _looked_up(request)
    wanted = [slot for slot in counters.slots if slot.name]
    used = selectors.counters(request.user_id, wanted)
    if used is None:
        raise _unknown_user()
    before = [limits.state(slot, count) for slot, count in zip(wanted, used, strict=True)]
    if passed := [one for one in before if one.max is not None and one.used + request.quantity > one.max]:
        raise UsageLimitExceeded(max(passed, key=_lasts), now=request.now)
    if use is not None and use.cap is not None and use.used + request.quantity > use.cap:
        raise UsageLimitExceeded(use.state(use.used), now=request.now)
    charge = draw_asked(use, request.quantity, request.now) if use is not None and use.is_drawn else None
    after = [limits.state(slot, count + request.quantity) for slot, count in zip(wanted, used, strict=True)]
    return Usage(None, request.action, request.quantity, request.now, after, charge=charge)


def _lasts(one: LimitState) -> tuple[bool, float]:
    return (one.resets_at is None, one.resets_at.timestamp() if one.resets_at else 0.0)


def _unknown_user() -> ValidationFailed:
    return ValidationFailed.field("user_id", "There is no such user")
