"""The faults of Google's settings, and that no secret is shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from providers import base
from providers.google.adapter import GoogleProvider
from tests.emulators.google import GoogleEmulator
from tests.emulators.google.server import ACCESS_TOKEN
from tests.providers.google_support import USER, last, provider

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def google() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as emulator:
        yield emulator


def faults(google: GoogleEmulator, *, debug: bool = True, **changes: Any) -> list[tuple[str, str]]:
    return [(f.level, f"{f.message} {f.hint}") for f in provider(google, **changes).config_faults(debug=debug)]


def test_good_settings_have_no_faults(google: GoogleEmulator) -> None:
    real = {"base_url": None, "certs_url": None}

    assert faults(google) == []
    assert faults(google, debug=False, **real) == []
    assert [level for level, _ in faults(google, debug=False)] == ["error", "error"]
    assert [level for level, _ in faults(google, debug=False, **real, test_mode=True)] == ["warning"]


@pytest.mark.parametrize(
    ("key", "variable", "wrong"),
    [
        ("package_name", "GOOGLE_PLAY_PACKAGE_NAME", "premium"),
        ("service_account", "GOOGLE_PLAY_SERVICE_ACCOUNT", "[1]"),
        (
            "service_account",
            "GOOGLE_PLAY_SERVICE_ACCOUNT",
            '{"private_key": "s3cret", "client_email": "a", "token_uri": 1}',
        ),
        ("audience", "GOOGLE_PLAY_PUSH_AUDIENCE", ""),
        ("push_account", "GOOGLE_PLAY_PUSH_ACCOUNT", "nobody"),
        ("push_subscription", "GOOGLE_PLAY_PUSH_SUBSCRIPTION", "play-push"),
        ("base_url", "GOOGLE_PLAY_BASE_URL", "ftp://x"),
        ("certs_url", "GOOGLE_PLAY_CERTS_URL", "https://certs.example.com/"),
    ],
)
def test_each_fault_names_its_variable(google: GoogleEmulator, key: str, variable: str, wrong: str) -> None:
    required = key not in ("base_url", "certs_url")
    for value in (wrong, *(("", None, "  ") if required else ())):
        [(level, text)] = faults(google, **{key: value})
        assert level == "error"
        assert variable in text
        assert "s3cret" not in text


def test_all_faults_are_told_at_once() -> None:
    text = " ".join(f.hint for f in GoogleProvider("google", {}).config_faults(debug=False))

    for name in ("SERVICE_ACCOUNT", "PACKAGE_NAME", "PUSH_AUDIENCE", "PUSH_ACCOUNT", "PUSH_SUBSCRIPTION"):
        assert f"GOOGLE_PLAY_{name}" in text


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_and_no_person_is_shown(google: GoogleEmulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)  # as the settings have it
    adapter = provider(google)
    token = google.purchase(user=USER).token
    events = last(google, adapter)
    adapter.acknowledge_purchase(token)
    adapter.fetch_events(token, since=SINCE)
    adapter.cancel_subscription(token, at_period_end=False)
    google.fault("api", "500", times=3)
    with pytest.raises(base.Unavailable) as raised:
        adapter.get_subscription(token)
    account = json.loads(google.settings()["service_account"])

    assert "/tokens/…:acknowledge" in caplog.text
    for text in (repr(adapter), repr(adapter._settings), repr(adapter._api), caplog.text, repr(raised.value)):
        for secret in (token, account["private_key"][60:100], ACCESS_TOKEN, USER):
            assert secret not in text
    assert "buyerAddress" not in json.dumps([event.raw for event in events], default=str)
