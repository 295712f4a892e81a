"""System checks of the settings of money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from payflow.core.setting_checks import check_choice, check_rule
from payments.support_limits import limits_read

UNAPPLIED_PAYMENT = ("refund", "credit", "review")


@checks.register("payflow")
def check_payment_settings(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    return [
        *check_choice("UNAPPLIED_PAYMENT", UNAPPLIED_PAYMENT),
        *_check_limits("SUPPORT_REFUND_LIMIT"),
        *_check_limits("SUPPORT_CREDIT_LIMIT"),
    ]


def _check_limits(name: str) -> list[checks.CheckMessage]:
    return check_rule(name, _are_read(getattr(settings, name)), "currencies and their limits by commas: USD:50,EUR:50")


def _are_read(texts: Sequence[str]) -> bool:
    try:
        limits_read(texts)
    except (ValueError, TypeError):
        return False
    return True
