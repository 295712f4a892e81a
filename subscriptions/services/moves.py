"""An operator moves subscribers from one provider to another: starts it, looks at it, pauses, resumes and ends it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Count

from payflow.core import audit
from payflow.core.errors import InvalidTransition, NotFound, ValidationFailed
from payflow.core.locks import lock_rows
from payflow.core.nudges import nudge
from providers import registry
from subscriptions.models import MemberStatus, MoveStatus, ProviderMove
from subscriptions.services.move_rules import candidates, refused_as_source

SWEEP = "provider_moves"
#: What a move may become.
_STEPS: Mapping[str, frozenset[str]] = {
    MoveStatus.ACTIVE: frozenset({MoveStatus.PAUSED, MoveStatus.ENDED}),
    MoveStatus.PAUSED: frozenset({MoveStatus.ACTIVE, MoveStatus.ENDED}),
    MoveStatus.ENDED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """Subscriptions by how far they are; `to_do` are those of the share whose turn has not come."""

    to_do: int
    invited: int
    moved: int
    left: int
    failed: int


def move_check(*, from_provider: str, to_provider: str, percent: int, days_before: int) -> None:
    """Raises ValidationFailed where nobody could be moved so."""
    for field, name in (("from_provider", from_provider), ("to_provider", to_provider)):
        if name not in registry.names():
            raise ValidationFailed.field(field, f"{name!r} is not a configured payment provider")
    if from_provider == to_provider:
        raise ValidationFailed.field("to_provider", "This is the provider that they have")
    if not 1 <= percent <= 100:
        raise ValidationFailed.field("percent", "A whole number from 1 to 100")
    if not 1 <= days_before <= 30:
        raise ValidationFailed.field("days_before", "A whole number of days from 1 to 30")
    source, target = registry.get(from_provider), registry.get(to_provider)
    if refused_as_source(source.capabilities, source.manage_url("")):
        raise ValidationFailed.field("from_provider", f"Only the subscriber can stop what renews at {from_provider!r}")
    if not target.capabilities.create:
        raise ValidationFailed.field("to_provider", f"Subscriptions are not started at {to_provider!r}")
    if target.capabilities.price_set_by == "provider":
        raise ValidationFailed.field(
            "to_provider", f"{to_provider!r} sets its own periods: what is paid there cannot follow what is paid here"
        )
    open_ones = ProviderMove.objects.exclude(status=MoveStatus.ENDED)
    if open_ones.filter(from_provider=from_provider).exists():
        raise ValidationFailed.field("from_provider", f"There is a move away from {from_provider!r} already")
    if open_ones.filter(from_provider=to_provider).exists() or open_ones.filter(to_provider=from_provider).exists():
        raise ValidationFailed.field("to_provider", "Another move would move them on: end it first")


def move_start(
    *, from_provider: str, to_provider: str, percent: int, days_before: int, actor: str, now: datetime
) -> ProviderMove:
    """From now on the share of new subscribers begins at the new provider, and the others are sent links.

    Raises ValidationFailed.
    """
    terms = {
        "from_provider": from_provider,
        "to_provider": to_provider,
        "percent": percent,
        "days_before": days_before,
    }
    move_check(from_provider=from_provider, to_provider=to_provider, percent=percent, days_before=days_before)
    try:
        with transaction.atomic():
            move = ProviderMove.objects.create(
                from_provider=from_provider,
                to_provider=to_provider,
                percent=percent,
                days_before=days_before,
                actor=actor,
                created_at=now,
            )
            _audit("start", move, actor, **terms)
            nudge("payflow.core.tasks.run_sweep", SWEEP)
    except IntegrityError as error:
        raise ValidationFailed.field("from_provider", f"There is a move away from {from_provider!r} already") from error
    return move


def move_pause(*, move_id: uuid.UUID, actor: str) -> ProviderMove:
    """Nobody else is invited, and new subscribers begin at the setting's provider; links that were sent stay good.

    Raises NotFound, InvalidTransition.
    """
    return _step(move_id, MoveStatus.PAUSED, "pause", actor)


def move_resume(*, move_id: uuid.UUID, actor: str) -> ProviderMove:
    """It goes on where it stood. Raises NotFound, InvalidTransition."""
    return _step(move_id, MoveStatus.ACTIVE, "resume", actor)


def move_end(*, move_id: uuid.UUID, actor: str, now: datetime) -> ProviderMove:
    """Links that were sent are good no more, and who has not moved stays. Raises NotFound, InvalidTransition."""
    return _step(move_id, MoveStatus.ENDED, "end", actor, ended_at=now)


def move_widen(*, move_id: uuid.UUID, percent: int, actor: str, reason: str = "") -> ProviderMove:
    """A larger share: who was in it stays in it. Raises NotFound, InvalidTransition, ValidationFailed (not larger)."""
    with transaction.atomic():
        move = _locked(move_id)
        if move.status == MoveStatus.ENDED:
            raise InvalidTransition("The move was ended")
        if not move.percent < percent <= 100:
            raise ValidationFailed.field("percent", f"More than {move.percent}, and 100 at most")
        move.percent = percent
        move.save()
        _audit("widen", move, actor, percent=percent, reason=reason)
        nudge("payflow.core.tasks.run_sweep", SWEEP)
    return move


def move_progress(move: ProviderMove, *, now: datetime) -> Progress:
    """How many are how far: two queries."""
    counted = dict(move.members.values_list("status").annotate(n=Count("pk")).values_list("status", "n"))
    waiting = candidates(move, now=now).exclude(moves__move=move)
    return Progress(
        to_do=0 if move.status == MoveStatus.ENDED else waiting.count(),
        invited=counted.get(MemberStatus.INVITED, 0) + counted.get(MemberStatus.PREPARING, 0),
        moved=counted.get(MemberStatus.MOVED, 0),
        left=counted.get(MemberStatus.LEFT, 0),
        failed=counted.get(MemberStatus.FAILED, 0),
    )


def _step(move_id: uuid.UUID, to: MoveStatus, act: str, actor: str, **fields: datetime) -> ProviderMove:
    with transaction.atomic():
        move = _locked(move_id)
        if to not in _STEPS[move.status]:
            raise InvalidTransition(f"A move that is {move.status} cannot become {to}")
        move.status = to
        for name, value in fields.items():
            setattr(move, name, value)
        move.save()
        _audit(act, move, actor)
        nudge("payflow.core.tasks.run_sweep", SWEEP)
    return move


def _locked(move_id: uuid.UUID) -> ProviderMove:
    rows = lock_rows(ProviderMove.objects.filter(pk=move_id))
    if not rows:
        raise NotFound("There is no such move")
    return rows[0]


def _audit(act: str, move: ProviderMove, actor: str, **data: object) -> None:
    audit.record(
        actor=actor,
        action=f"provider_move.{act}",
        subject_type="provider_move",
        subject_id=move.pk,
        data=data,
    )
