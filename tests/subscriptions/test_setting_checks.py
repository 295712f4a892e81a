"""A setting with a value that is not allowed is an error at the start, which names the allowed ones."""

from __future__ import annotations

import pytest
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

ALLOWED = {
    "CHARGEBACK_OPENED": ["stop_charging", "suspend", "nothing"],
    "CHARGEBACK_LOST": ["cancel", "nothing"],
    "FULL_REFUND": ["cancel", "nothing"],
    "PARTIAL_REFUND": ["cancel", "nothing"],
    "MISSED_PERIODS": ["bill_all", "bill_current", "forgive"],
    "PRORATION_UNIT": ["second", "day"],
    "UNAPPLIED_PAYMENT": ["refund", "credit", "review"],
    "DUNNING_DAYS": [[], [1], [2, 7, 14, 21]],
    "MAX_CHARGES_PER_DAY": [1, 2, 100],
    "TRIAL_NOTICE_DAYS": [0, 3],
    "SUPPORT_REFUND_LIMIT": [[], ["USD:50"], ["USD:50", " EUR : 12.50 ", "JPY:0"]],
    "SUPPORT_CREDIT_LIMIT": [[], ["USD:20", "JPY:0"]],
}
REFUSED = {
    "DUNNING_DAYS": [[0, 2], [-1], [7, 2], [2, 2]],
    "MAX_CHARGES_PER_DAY": [0, -1],
    "TRIAL_NOTICE_DAYS": [-1],
    "SUPPORT_REFUND_LIMIT": [
        ["50"],
        ["USD"],
        ["USD:x"],
        ["USD:-1"],
        ["usd:5"],
        ["XXX:5"],
        ["USD:5", "USD:6"],
        ["USD:1e9"],
    ],
    "SUPPORT_CREDIT_LIMIT": [["20"], ["USD:5", "USD:6"], ["XXX:5"]],
}


def messages() -> list[checks.CheckMessage]:
    return [each for each in checks.run_checks() if each.id == "payflow.E010"]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ALLOWED.items() for value in values])
def test_what_is_allowed_passes(settings, name, value):
    setattr(settings, name, value)
    assert messages() == []


@pytest.mark.parametrize("name", [name for name in ALLOWED if name not in REFUSED])
@pytest.mark.parametrize("value", ["", "Cancel", "none"])
def test_another_word_is_an_error_that_names_the_allowed_ones(settings, name, value):
    setattr(settings, name, value)

    [message] = messages()

    assert message.level == checks.ERROR
    assert message.msg == f"{name} is {value!r}"
    assert message.hint == f"It must be one of {', '.join(ALLOWED[name])}."


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_another_number_is_an_error(settings, name, value):
    setattr(settings, name, value)

    [message] = messages()

    assert (message.level, message.msg) == (checks.ERROR, f"{name} is {value!r}")
    assert message.hint


def test_it_stops_the_command_that_a_start_begins_with(settings):
    settings.CHARGEBACK_LOST = "cancle"
    with pytest.raises(SystemCheckError, match="CHARGEBACK_LOST is 'cancle'"):
        call_command("check")


def test_the_checks_of_the_providers_run_too(settings):
    settings.PAYFLOW_PROVIDERS = {"lava": {"adapter": "nobody"}}
    settings.PAYFLOW_DEFAULT_PROVIDER = "paypal"
    assert {"payflow.E001", "payflow.E003"} <= {each.id for each in checks.run_checks()}
