from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from payflow.core import clock
from payflow.core.errors import DomainError
from subscriptions.models import MoveStatus, ProviderMove
from subscriptions.services.moves import (
    move_end,
    move_pause,
    move_progress,
    move_resume,
    move_start,
    move_widen,
)


class Command(BaseCommand):
    help = "Moves subscribers from one payment provider to another: start, show, pause, resume, widen, end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("show", help="every move, and how far its subscribers are")
        start = acts.add_parser("start")
        start.add_argument("from_provider")
        start.add_argument("to_provider")
        start.add_argument("--percent", type=int, default=100, help="the share who move")
        start.add_argument("--days-before", type=int, default=3, help="when the link is sent, before the period ends")
        for name in ("pause", "resume", "end"):
            acts.add_parser(name).add_argument("from_provider")
        widen = acts.add_parser("widen", help="a larger share")
        widen.add_argument("from_provider")
        widen.add_argument("--percent", type=int, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._act(options)
        except DomainError as error:
            details = "; ".join(f"{name}: {' '.join(told)}" for name, told in (error.details or {}).items())
            raise CommandError(details or error.message) from error
        for move in ProviderMove.objects.order_by("created_at"):
            progress = move_progress(move, now=clock.now())
            self.stdout.write(
                f"{move}, {move.days_before} days before, {move.status}: {progress.to_do} to do,"
                f" {progress.invited} invited, {progress.moved} moved, {progress.left} left alone,"
                f" {progress.failed} failed"
            )

    def _act(self, options: dict[str, Any]) -> None:
        match options["act"]:
            case "start":
                names = ("from_provider", "to_provider", "percent", "days_before")
                move_start(**{name: options[name] for name in names}, actor="system", now=clock.now())
            case "pause":
                move_pause(move_id=_open(options).pk, actor="system")
            case "resume":
                move_resume(move_id=_open(options).pk, actor="system")
            case "widen":
                move_widen(move_id=_open(options).pk, percent=options["percent"], actor="system")
            case "end":
                move_end(move_id=_open(options).pk, actor="system", now=clock.now())


def _open(options: dict[str, Any]) -> ProviderMove:
    name = options["from_provider"]
    move = ProviderMove.objects.exclude(status=MoveStatus.ENDED).filter(from_provider=name).first()
    if move is None:
        raise CommandError(f"There is no move away from {name!r}")
    return move
