"""What 2Checkout's adapter can and cannot, and the faults of its settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import environ
import pytest

from payflow.settings import providers as settings
from providers import base
from providers.base import Caps
from providers.registry import adapter_class
from providers.twocheckout.adapter import TwoCheckoutProvider
from tests.emulators.twocheckout import TwoCheckoutEmulator
from tests.providers.twocheckout_support import CONFIG, emulator, provider, provider_at

CAPABILITIES = {
    "create": True,
    "hosted_checkout": True,
    "cancel_now": True,
    "cancel_at_period_end": True,
    "resume": True,
    "change": True,
    "refund_full": True,
    "refund_partial": True,
    "payment_link": True,
    "renewal_driver": "provider",
    "price_set_by": "payflow",
    "merchant_of_record": True,
    "grace": True,
    "webhooks_signed": True,
    "fetch_state": True,
    "test_mode": True,
    "find_purchase": True,
}


@pytest.fixture(scope="module")
def tco() -> Iterator[TwoCheckoutEmulator]:
    with emulator() as running:
        yield running


# --- capabilities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_click", [False, True])
def test_capabilities(one_click: bool) -> None:
    assert provider(one_click=one_click).capabilities == Caps(**CAPABILITIES, merchant_charge=one_click)


NOT_SUPPORTED: dict[str, dict[str, Any]] = {
    "attach_purchase": {"user_ref": "u", "token": "t"},
    "charge": {"request": base.ChargeRequest("1", "cus", Decimal(1), "USD", "key")},
    "find_payment": {"idempotency_key": "key", "created_at": datetime(2026, 1, 1, tzinfo=UTC)},
    "pause_subscription": {"provider_sub_id": "s"},
    "missed_events": {"since": datetime(2026, 1, 1, tzinfo=UTC), "until": datetime(2026, 1, 2, tzinfo=UTC)},
    "acknowledge_purchase": {"provider_sub_id": "s"},
}


@pytest.mark.parametrize("method", NOT_SUPPORTED)
def test_what_it_cannot_is_refused_without_a_call(tco: TwoCheckoutEmulator, method: str) -> None:
    with pytest.raises(base.NotSupported):
        getattr(provider_at(tco), method)(**NOT_SUPPORTED[method])

    assert not tco.requests


def test_the_registry_knows_the_adapter() -> None:
    assert adapter_class("twocheckout") is TwoCheckoutProvider


def test_buyers_manage_their_subscriptions_at_2checkout() -> None:
    assert provider().manage_url("S1") == "https://secure.2checkout.com/myaccount/"


def test_only_currencies_are_sold_in() -> None:
    assert provider().supports_currency("RON")
    assert not provider().supports_currency("XXX")


# --- settings --------------------------------------------------------------------------------------------------------


def faults(*, debug: bool = False, **changes: Any) -> list[tuple[str, str]]:
    found = TwoCheckoutProvider("2checkout", {**CONFIG, **changes}).config_faults(debug=debug)
    return [(fault.level, f"{fault.message} {fault.hint}") for fault in found]


def test_good_settings_have_no_faults() -> None:
    assert faults() == []


@pytest.mark.parametrize("empty", ["", None, "  "])
@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("merchant_code", "TWOCHECKOUT_MERCHANT_CODE"),
        ("secret_key", "TWOCHECKOUT_SECRET_KEY"),
        ("buy_link_secret", "TWOCHECKOUT_BUY_LINK_SECRET"),
        ("timezone", "TWOCHECKOUT_TIMEZONE"),
    ],
)
def test_missing_setting_is_an_error_that_names_its_variable(key: str, variable: str, empty: str | None) -> None:
    [(level, text)] = faults(**{key: empty})

    assert level == "error"
    assert variable in text


@pytest.mark.parametrize(
    ("changes", "level", "variable"),
    [
        ({"merchant_code": 'a"b'}, "error", "TWOCHECKOUT_MERCHANT_CODE"),
        ({"timezone": "Mars/Olympus"}, "error", "TWOCHECKOUT_TIMEZONE"),
        ({"timezone": "Europe"}, "error", "TWOCHECKOUT_TIMEZONE"),
        ({"timezone": "GMT+3"}, "error", "TWOCHECKOUT_TIMEZONE"),
        ({"timezone": "../etc/passwd"}, "error", "TWOCHECKOUT_TIMEZONE"),
        ({"algorithm": "md5"}, "error", "TWOCHECKOUT_ALGORITHM"),
        ({"grace_days": "a week"}, "error", "TWOCHECKOUT_GRACE_DAYS"),
        ({"grace_days": "-1"}, "error", "TWOCHECKOUT_GRACE_DAYS"),
        ({"refund_reason": ""}, "error", "TWOCHECKOUT_REFUND_REASON"),
        ({"base_url": ""}, "error", "TWOCHECKOUT_BASE_URL"),
        ({"base_url": "http://api.2checkout.com"}, "error", "TWOCHECKOUT_BASE_URL"),
        ({"link_url": "http://127.0.0.1:8802"}, "error", "TWOCHECKOUT_LINK_URL"),
        ({"link_url": "https://u:p@secure.2checkout.com"}, "error", "TWOCHECKOUT_LINK_URL"),
        ({"allow_md5": True}, "warning", "TWOCHECKOUT_ALLOW_MD5"),
        ({"test_mode": True}, "warning", "TWOCHECKOUT_TEST_MODE"),
    ],
)
def test_bad_setting_is_named(changes: dict[str, Any], level: str, variable: str) -> None:
    [(found, text)] = faults(**changes)

    assert found == level
    assert variable in text


@pytest.mark.parametrize(
    "changes",
    [
        {"timezone": "GMT+03:00"},
        {"timezone": "UTC"},
        {"grace_days": "0"},
        {"algorithm": "sha256"},
        {"base_url": "http://127.0.0.1:1/rest/6.0", "link_url": "http://localhost:1", "test_mode": True},
    ],
)
def test_allowed_settings(changes: dict[str, Any]) -> None:
    assert faults(debug=True, **changes) == []


def test_all_faults_are_told_at_once() -> None:
    text = " ".join(fault.hint for fault in TwoCheckoutProvider("2checkout", {}).config_faults(debug=True))

    for name in ("MERCHANT_CODE", "SECRET_KEY", "BUY_LINK_SECRET", "TIMEZONE"):
        assert f"TWOCHECKOUT_{name}" in text


# --- the environment -------------------------------------------------------------------------------------------------


def test_without_its_secrets_it_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWOCHECKOUT_SECRET_KEY", raising=False)
    monkeypatch.delenv("TWOCHECKOUT_BUY_LINK_SECRET", raising=False)

    assert "2checkout" not in settings.configured(environ.Env())


def test_environment_configures_it_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MERCHANT_CODE": "250111206876",
        "SECRET_KEY": "s",
        "BUY_LINK_SECRET": "b",
        "TIMEZONE": "Europe/Bucharest",
        "ONE_CLICK": "true",
    }.items():
        monkeypatch.setenv(f"TWOCHECKOUT_{name}", value)

    config = settings.configured(environ.Env())["2checkout"]
    made = TwoCheckoutProvider("2checkout", config)

    assert made.config_faults(debug=False) == []
    assert made.capabilities.merchant_charge
