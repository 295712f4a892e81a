"""`manage.py ledger_check`: proves the books; exit code 1 and a list of what is wrong where they contradict themselves."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from payflow.core import clock
from payments.services.ledger_check import ledger_check_run


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="the result as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        check = ledger_check_run(actor="system", wall=clock.wall())
        if options["json"]:
            result = {
                "id": str(check.pk),
                "is_sound": check.is_sound,
                "fault_count": check.fault_count,
                "checked": check.checked,
                "faults": check.faults,
            }
            self.stdout.write(json.dumps(result, indent=2))
        else:
            for name, proof in check.checked.items():
                self.stdout.write(f"{name}: {proof['rows']} rows, {proof['faults']} faults")
            for fault in check.faults:
                self.stdout.write(
                    f"{fault['check']} {fault['id']}\n  expected {fault['expected']}\n  found    {fault['found']}"
                )
        if not check.is_sound:
            raise CommandError(f"{check.fault_count} faults, {len(check.faults)} of them listed")
