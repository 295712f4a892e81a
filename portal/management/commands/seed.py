"""`manage.py seed`: the documents' plans, and outside production the demo's operator and customer. Safe to run twice."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from plans.models import Plan
from plans.seeds import plans_seed
from portal.demo import demo_seed


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-empty", action="store_true", help="do nothing where there are plans already")
        parser.add_argument("--plans-only", action="store_true", help="no demo accounts")

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["if_empty"] and Plan.objects.exists()):
            plans_seed()
            self.stdout.write("plans: free, premium, pro")
        if settings.SANDBOX_ENABLED and not options["plans_only"]:
            for line in demo_seed(
                operator_email=os.environ.get("PAYFLOW_ADMIN_EMAIL", "operator@payflow.local"),
                operator_password=os.environ.get("PAYFLOW_ADMIN_PASSWORD", "payflow-demo"),
            ):
                self.stdout.write(line)
