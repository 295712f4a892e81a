"""System checks of the settings of billing. Each value that is branched on somewhere is named here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from payflow.core.setting_checks import check_choice, check_rule, is_count
from subscriptions.services.missed import POLICIES

CHOICES: dict[str, tuple[str, ...]] = {
    "CHARGEBACK_OPENED": ("stop_charging", "suspend", "nothing"),
    "CHARGEBACK_LOST": ("cancel", "nothing"),
    "FULL_REFUND": ("cancel", "nothing"),
    "PARTIAL_REFUND": ("cancel", "nothing"),
    "MISSED_PERIODS": POLICIES,
    "PRORATION_UNIT": ("second", "day"),
}


@checks.register("payflow")
def check_billing_settings(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    messages = [message for name, allowed in CHOICES.items() for message in check_choice(name, allowed)]
    days = settings.DUNNING_DAYS
    rising = all(is_count(day, 1) for day in days) and list(days) == sorted(set(days))
    messages += check_rule("DUNNING_DAYS", rising, "days of 1 and more, each later than the one before: 2,7,14,21")
    messages += check_rule("MAX_CHARGES_PER_DAY", is_count(settings.MAX_CHARGES_PER_DAY, 1), "a number of 1 or more")
    messages += check_rule("TRIAL_NOTICE_DAYS", is_count(settings.TRIAL_NOTICE_DAYS, 0), "a number of 0 or more")
    return messages
