"""`manage.py simulate --subscribers 300 --months 12 --seed 1 --faults`: months of subscribers on the real services.

Exit status 1 where an invariant does not hold; then the command is printed that shows it again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from payflow.core.errors import DomainError
from portal.simulator.progress import Bar
from portal.simulator.run import Outcome, simulation_run
from subscriptions.models import Subscription


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--subscribers", type=int, default=50)
        parser.add_argument("--months", type=int, default=3)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--faults", action="store_true", help="timeouts, declines, late and double news, crashes")
        parser.add_argument("--fresh-database", action="store_true", help="in one of its own, dropped afterwards")
        parser.add_argument(
            "--yes-into-this-database", action="store_true", help="even where there are subscribers already"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.PAYFLOW_TIME_TRAVEL:
            raise CommandError("Only where PAYFLOW_TIME_TRAVEL is on, so never in production: it moves business time")
        if options["fresh_database"]:
            with _database_of_its_own():
                outcome = self._run(options)
        else:
            if Subscription.objects.exists() and not options["yes_into_this_database"]:
                raise CommandError(
                    "There are subscribers in this database: --fresh-database makes another one for the run"
                    " (or --yes-into-this-database, and its business time is 2041 for ever)"
                )
            outcome = self._run(options)
        self.stdout.write(outcome.report.table())
        self.stdout.write(f"{outcome.report.seconds:.0f} seconds")
        if outcome.violations:
            for violation in outcome.violations:
                self.stdout.write(self.style.ERROR(str(violation)))
            faults = " --faults" if options["faults"] else ""
            numbers = " ".join(f"--{name} {options[name]}" for name in ("subscribers", "months", "seed"))
            self.stdout.write(f"To see it again: manage.py simulate {numbers}{faults} --fresh-database")
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS("every invariant holds"))

    def _run(self, options: dict[str, Any]) -> Outcome:
        try:
            return simulation_run(
                subscribers=options["subscribers"],
                months=options["months"],
                seed=options["seed"],
                faults=options["faults"],
                progress=Bar(sys.stderr).show,
            )
        except DomainError as error:
            raise CommandError(error.message) from error


@contextmanager
def _database_of_its_own() -> Iterator[None]:
    """Made, migrated and dropped as a test database is, beside the one in the settings."""
    name, test = connection.settings_dict["NAME"], connection.settings_dict["TEST"]
    before, test["NAME"] = test.get("NAME"), f"{name}_simulation"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)
        test["NAME"] = before
