"""`manage.py advance_clock --days 31`: moves business time forward, living through every due moment on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from payflow.core.errors import DomainError
from payflow.core.time_travel import clock_advance


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, default=0.0)
        parser.add_argument("--hours", type=float, default=0.0)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            moment = clock_advance(by=timedelta(days=options["days"], hours=options["hours"]))
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"business time is now {moment.isoformat(timespec='seconds')}")
