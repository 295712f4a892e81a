"""System checks of the settings of usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from payflow.core.setting_checks import check_choice, check_rule, is_count
from usage.retention import EXPIRED


@checks.register("payflow")
def check_usage_settings(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    messages = check_choice("USAGE_LOG_EXPIRED", EXPIRED)
    for name in ("USAGE_LOG_RETENTION_MONTHS", "USAGE_LATE_DAYS", "USAGE_AHEAD_MINUTES"):
        messages += check_rule(name, is_count(getattr(settings, name), 0), "a number of 0 or more")
    thresholds = settings.USAGE_ALERT_THRESHOLDS
    rising = all(is_count(each, 1) and each <= 100 for each in thresholds) and list(thresholds) == sorted(
        set(thresholds)
    )
    messages += check_rule(
        "USAGE_ALERT_THRESHOLDS", rising, "per cent from 1 to 100, each more than the one before: 80,100"
    )
    return messages
