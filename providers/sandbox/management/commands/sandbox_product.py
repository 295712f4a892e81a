"""`manage.py sandbox_product`: enters a product into the account that a configured sandbox has, or changes it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from providers.sandbox.accounts import fingerprint
from providers.sandbox.models import Cycle
from providers.sandbox.products import product_keep
from providers.sandbox.subscription_inputs import ProductInput


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider", help="the configured name, sandbox-billing for one")
        parser.add_argument("product_ref", help="what the plan's provider reference says")
        parser.add_argument("name")
        parser.add_argument("price", type=Decimal)
        parser.add_argument("currency")
        parser.add_argument("cycle", choices=Cycle.values)
        parser.add_argument("--every", type=int, default=1)
        parser.add_argument("--trial-days", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        config = settings.PAYFLOW_PROVIDERS.get(options["provider"], {})
        if config.get("adapter") != "sandbox" or not config.get("api_key"):
            raise CommandError(f"{options['provider']} is no configured sandbox")
        wanted = ProductInput(
            product_ref=options["product_ref"],
            name=options["name"],
            price=options["price"],
            currency=options["currency"],
            cycle=Cycle(options["cycle"]),
            every=options["every"],
            trial_days=options["trial_days"],
        )
        product_keep(account=fingerprint(str(config["api_key"])), wanted=wanted)
