from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from payflow.core import clock
from payflow.core.errors import DomainError
from subscriptions.services.reconciliation import provider_reconcile


class Command(BaseCommand):
    help = "Asks a provider about every subscription that it keeps, applies what was missed, and counts what disagrees."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("provider")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = provider_reconcile(provider=options["provider"], now=clock.now())
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{found.asked} asked about, {found.disagree} disagree, {found.failed} without an answer")
