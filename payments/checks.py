"""System checks of the settings of money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks

from payflow.core.setting_checks import check_choice, check_rule
from payments.refund_limits import refund_limits

UNAPPLIED_PAYMENT = ("refund", "credit", "review")


@checks.register("payflow")
def check_payment_settings(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    return [
        *check_choice("UNAPPLIED_PAYMENT", UNAPPLIED_PAYMENT),
        *check_rule("SUPPORT_REFUND_LIMIT", _limits_are_read(), "currencies and their limits by commas: USD:50,EUR:50"),
    ]


def _limits_are_read() -> bool:
    try:
        refund_limits()
    except (ValueError, TypeError):
        return False
    return True
