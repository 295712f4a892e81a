"""What Lava's adapter can and cannot, the faults of its settings, and that it shows no secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from providers.base import Caps
from providers.lava.adapter import LavaProvider
from providers.registry import adapter_class
from tests.emulators.lava import LavaEmulator
from tests.providers.lava_support import API_KEY, OLD_SECRET_KEY, SECRET_KEY, link_request, provider, sub_request


@pytest.fixture(scope="module")
def running() -> Iterator[LavaEmulator]:
    with LavaEmulator(api_key=API_KEY, secret_key=SECRET_KEY, retry_pauses=()) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: LavaEmulator) -> LavaEmulator:
    running.requests.clear()
    running.fail_creates(None)
    return running


# --- capabilities ----------------------------------------------------------------------------------------------------


def test_capabilities_are_the_documents() -> None:
    assert provider("https://api.lava.top/v1").capabilities == Caps(
        create=True,
        hosted_checkout=True,
        payment_link=True,
        renewal_driver="provider",
        price_set_by="payflow",
        webhooks_signed=True,
    )


def test_there_is_no_page_to_manage_a_subscription_at() -> None:
    assert provider("https://api.lava.top/v1").manage_url("s") is None


def test_only_the_configured_currency_is_sold() -> None:
    lava = provider("https://api.lava.top/v1", currency="RUB")

    assert lava.supports_currency("RUB")
    assert not lava.supports_currency("USD")


def test_currency_is_dollars_by_default() -> None:
    assert provider("https://api.lava.top/v1", currency=None).supports_currency("USD")


def test_the_registry_knows_the_adapter() -> None:
    assert adapter_class("lava") is LavaProvider


# --- settings --------------------------------------------------------------------------------------------------------

REAL = "https://gate.lava.example/v1"


def faults(*, debug: bool = False, **changes: Any) -> list[tuple[str, str]]:
    found = provider(changes.pop("base_url", REAL), **changes).config_faults(debug=debug)
    return [(fault.level, f"{fault.message} {fault.hint}") for fault in found]


def test_good_settings_have_no_faults() -> None:
    assert faults() == []


@pytest.mark.parametrize("empty", ["", None, "  "])
@pytest.mark.parametrize(("key", "variable"), [("api_key", "LAVA_API_KEY"), ("secret_key", "LAVA_SECRET_KEY")])
def test_missing_key_is_an_error_that_names_its_variable(key: str, variable: str, empty: str | None) -> None:
    [(level, text)] = faults(**{key: empty})

    assert level == "error"
    assert variable in text


def test_all_faults_are_told_at_once() -> None:
    found = LavaProvider("lava", {"currency": "XXX"}).config_faults(debug=True)

    assert [fault.level for fault in found] == ["error"] * 4
    text = " ".join(fault.hint for fault in found)
    for variable in ("LAVA_API_KEY", "LAVA_SECRET_KEY", "LAVA_BASE_URL", "LAVA_CURRENCY"):
        assert variable in text


@pytest.mark.parametrize(
    ("base_url", "debug", "level"),
    [
        ("", True, "error"),
        (None, False, "error"),
        ("api.lava.top/v1", True, "error"),
        ("ftp://gate.lava.example", True, "error"),
        ("https://", True, "error"),
        ("https://gate.lava.example:port/", True, "error"),
        ("https://user:word@gate.lava.example/", True, "error"),
        ("https://gate.lava.example/v1?x=1", True, "error"),
        ("http://gate.lava.example/v1", True, "error"),
        ("http://127.0.0.1.evil.example/v1", True, "error"),
        ("http://10.0.0.1/v1", True, "error"),
        ("http://gate.lava.example/v1", False, "error"),
        ("http://127.0.0.1:8801/v1", False, "error"),
        ("http://localhost:8801/v1", False, "error"),
        ("http://127.0.0.1:8801/v1", True, None),
        ("http://[::1]:8801/v1", True, None),
        ("http://localhost:8801/v1", True, None),
        ("https://api.lava.top/v1", False, "warning"),
        ("https://API.LAVA.TOP/v1/", True, "warning"),
        (REAL, False, None),
    ],
)
def test_base_url(base_url: str | None, debug: bool, level: str | None) -> None:
    found = faults(base_url=base_url, debug=debug)

    assert [fault[0] for fault in found] == ([level] if level else [])


def test_api_key_that_is_no_header_is_an_error() -> None:
    [(level, text)] = faults(api_key="ключ")

    assert level == "error"
    assert "ключ" not in text


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_and_no_person_is_shown(emulator: LavaEmulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lava = provider(emulator.base_url, previous_secret_key=OLD_SECRET_KEY)
    lava.create_subscription(sub_request())
    lava.create_payment_link(link_request())

    shown = [repr(lava), str(lava), repr(lava._settings), repr(lava.config_faults(debug=False)), caplog.text]

    for text in shown:
        for secret in (API_KEY, SECRET_KEY, OLD_SECRET_KEY, "anna@example.com", "user_123"):
            assert secret not in text
