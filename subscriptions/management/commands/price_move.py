from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from payflow.core import clock
from payflow.core.errors import NotFound
from plans.selectors import plan_get
from subscriptions.services.price_moves import MovePlan, price_move, price_move_preview


class Command(BaseCommand):
    help = "Moves the subscribers of a plan to its present price, at their next renewals. Without --apply: the dry run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("plan", help="id or code")
        parser.add_argument("--apply", action="store_true", help="plan the moves that the dry run lists")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            plan = plan_get(options["plan"])
        except NotFound as error:
            raise CommandError("There is no such plan") from error
        now = clock.now()
        self._show(price_move_preview(plan=plan, now=now))
        if options["apply"]:
            moved = price_move(plan=plan, actor="system", now=now)
            self.stdout.write(f"{moved} will move at their next renewal.")
        else:
            self.stdout.write("Nothing has changed; --apply does it.")

    def _show(self, found: MovePlan) -> None:
        for move in found.moves:
            self.stdout.write(f"{move.at:%Y-%m-%d}  {move.before} -> {move.after}  {move.email}")
        for skipped in found.skipped:
            self.stdout.write(f"stays: {skipped.email} ({skipped.reason})")
        self.stdout.write(f"{len(found.moves)} would move, {len(found.skipped)} stay.")
        for currency, before in found.mrr_before.items():
            after = found.mrr_after[currency]
            self.stdout.write(f"MRR of those who move: {before} -> {after} (change {after - before})")
