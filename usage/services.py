"""The one way to use something: take a unit if there is one left, and say what remains."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from accounts.models import User
from payflow.core.errors import ValidationFailed
from payflow.core.ids import uuid7
from payflow.core.money import Money
from subscriptions.access import Access, access
from usage import limits, metering, selectors, statement
from usage.cache import answers_drop
from usage.content import content_faults, content_hash, metadata_json
from usage.drawing import draw_asked, usage_draw
from usage.errors import EventMismatch, NotEntitled, UsageLimitExceeded
from usage.limits import Grant, LimitState, Slot
from usage.metering import Priced
from usage.models import UsageEvent, Window


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
    if faults := content_faults(action, quantity, content_id, metadata, event_id):
        raise ValidationFailed(details=faults)
    told = metadata_json(metadata) if metadata is not None else None
    digest = content_hash(action, quantity, content_id, told) if event_id is not None else ""
    entries, moment = access(user_id, now), occurred_at or now
    grants = [selectors.grant(entry) for entry in entries]
    request = _Request(user_id, action, quantity, event_id, digest, grants, now)
    if dry_run and (stored := _stored(request)):
        return stored
    if not limits.allows(grants, action):
        if stored := _stored(request):
            return stored
        raise _not_entitled(request, grants)
    slots = limits.counted(grants, action, moment)
    entry = next(each for each in entries if _family(each) == slots[0].family)
    use = metering.priced(user_id, entry, action, moment)
    if dry_run:
        return _asked(request, slots, use, now)
    row = statement.Row(
        id=uuid7(),
        user_id=user_id,
        subscription_id=entry.subscription.pk if entry.subscription else None,
        action=action,
        quantity=quantity,
        content_id=content_id,
        metadata=told,
        event_id=event_id,
        request_hash=digest,
        occurred_at=moment,
    )
    try:
        answer = _written(row, slots, use, now)
    except statement.EventKnown:
        stored = _stored(request)
        assert stored is not None, "events are never deleted"
        return stored
    except statement.LimitPassed as passed:
        # The twin of this very event may have taken the last unit a moment ago.
        if stored := _stored(request):
            return stored
        raise UsageLimitExceeded(_passed(passed, slots, use), now=now) from passed
    except statement.UserUnknown as error:
        raise _unknown_user() from error
    answers_drop([user_id])
    return _told(request, answer)


def _written(row: statement.Row, slots: Sequence[Slot], use: Priced | None, now: datetime) -> dict[str, Any]:
    if use is None:
        return statement.usage_write(row, slots, now)
    if use.is_drawn:
        return usage_draw(row, slots, use, now)
    meter = metering.meter_of(use, at=now)
    return statement.usage_write(row, slots, now, metered=statement.Metered(meter.pk, cap=use.cap))


def _passed(passed: statement.LimitPassed, slots: Sequence[Slot], use: Priced | None) -> LimitState:
    """The state of the limit that refused."""
    if passed.window == Window.PERIOD and use is not None:
        return use.state(passed.used)
    slot = next(slot for slot in slots if (slot.action, slot.window) == (passed.action, passed.window))
    return limits.state(slot, passed.used)


@dataclass(frozen=True, slots=True)
class _Request:
    user_id: uuid.UUID
    action: str
    quantity: int
    event_id: str | None
    digest: str
    grants: Sequence[Grant]
    now: datetime


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
    if not limits.allows(request.grants, request.action):
        return []
    slots = [slot for slot in limits.counted(request.grants, request.action, request.now) if slot.name]
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


def _asked(request: _Request, slots: Sequence[Slot], use: Priced | None, now: datetime) -> Usage:
    """What the statement would answer. Raises UsageLimitExceeded, CreditExhausted, UserUnknown as ValidationFailed."""
    wanted = [slot for slot in slots if slot.name]
    used = selectors.counters(request.user_id, wanted)
    if used is None:
        raise _unknown_user()
    before = [limits.state(slot, count) for slot, count in zip(wanted, used, strict=True)]
    if passed := [one for one in before if one.max is not None and one.used + request.quantity > one.max]:
        raise UsageLimitExceeded(max(passed, key=_lasts), now=now)
    if use is not None and use.cap is not None and use.used + request.quantity > use.cap:
        raise UsageLimitExceeded(use.state(use.used), now=now)
    charge = draw_asked(use, request.quantity, now) if use is not None and use.is_drawn else None
    after = [limits.state(slot, count + request.quantity) for slot, count in zip(wanted, used, strict=True)]
    return Usage(None, request.action, request.quantity, now, after, charge=charge)


def _lasts(one: LimitState) -> tuple[bool, float]:
    return (one.resets_at is None, one.resets_at.timestamp() if one.resets_at else 0.0)


def _not_entitled(request: _Request, grants: Sequence[Grant]) -> Exception:
    if grants:
        return NotEntitled.switched_off(request.action)
    if not User.objects.filter(pk=request.user_id).exists():
        return _unknown_user()
    return NotEntitled.no_access()


def _unknown_user() -> ValidationFailed:
    return ValidationFailed.field("user_id", "There is no such user")


def _family(entry: Access) -> str:
    return entry.subscription.family if entry.subscription else entry.plan.family
