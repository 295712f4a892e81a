"""Apple's settings: every fault is named with its variable; what Apple cannot do is refused without asking."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import environ
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from payflow.settings.providers import configured
from providers import registry
from providers.apple.adapter import MANAGE_URL, AppleProvider
from providers.apple.config import root_der
from providers.base import Caps, ChangeRequest, ChargeRequest, NotSupported
from tests.providers.apple_support import CHAIN, PRIVATE_KEY, config
from tests.providers.lava_support import link_request, sub_request

HTTPS = {"base_url": "https://api.example", "sandbox_base_url": "https://sandbox.example"}
OTHER_CURVE = (
    ec.generate_private_key(ec.SECP384R1())
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)


def faults(*, debug: bool = False, **changes: Any) -> list[tuple[str, str, str]]:
    provider = AppleProvider("apple", config(**{**HTTPS, **changes}))
    return [(fault.level, fault.message, fault.hint) for fault in provider.config_faults(debug=debug)]


def named(**changes: Any) -> list[str]:
    """The variables that the errors name."""
    return [
        next(word.strip(".,:") for word in hint.split() if word.startswith("APPLE_"))
        for level, _, hint in faults(**changes)
        if level == "error"
    ]


def test_only_a_root_that_is_not_apples_is_remarked() -> None:
    assert [(level, message) for level, message, _ in faults()] == [
        ("warning", "a root certificate is not Apple Root CA - G3")
    ]


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"bundle_id": ""}, "APPLE_BUNDLE_ID"),
        ({"app_id": ""}, "APPLE_APP_ID"),
        ({"app_id": "ABCDE12345"}, "APPLE_APP_ID"),
        ({"app_id": "ABCDE12345", "environment": "Sandbox"}, "APPLE_APP_ID"),
        ({"issuer_id": " "}, "APPLE_ISSUER_ID"),
        ({"key_id": ""}, "APPLE_KEY_ID"),
        ({"private_key": ""}, "APPLE_PRIVATE_KEY"),
        ({"private_key": "key"}, "APPLE_PRIVATE_KEY"),
        ({"private_key": OTHER_CURVE}, "APPLE_PRIVATE_KEY"),
        ({"root_certificates": ""}, "APPLE_ROOT_CERTIFICATES"),
        ({"root_certificates": "abc"}, "APPLE_ROOT_CERTIFICATES"),
        ({"root_certificates": f"{CHAIN.root_base64},YWJj"}, "APPLE_ROOT_CERTIFICATES"),
        ({"environment": "Xcode"}, "APPLE_ENVIRONMENT"),
        ({"environment": "LocalTesting"}, "APPLE_ENVIRONMENT"),
        ({"environment": "LOCAL_TESTING"}, "APPLE_ENVIRONMENT"),
        ({"environment": "production"}, "APPLE_ENVIRONMENT"),
        ({"test_mode": True}, "APPLE_ENVIRONMENT"),
        ({"base_url": "http://127.0.0.1:8803"}, "APPLE_BASE_URL"),
        ({"sandbox_base_url": "ftp://x"}, "APPLE_SANDBOX_BASE_URL"),
    ],
)
def test_each_fault_names_its_variable(changes: dict[str, Any], variable: str) -> None:
    assert variable in named(**changes)


def test_a_sandbox_service_needs_no_app_id() -> None:
    assert named(environment="Sandbox", test_mode=True, app_id="") == []


def test_an_emulator_may_be_asked_in_development_only() -> None:
    assert named(debug=True, base_url="http://127.0.0.1:8803") == []
    assert named(debug=True, base_url="http://10.0.0.1:8803") == ["APPLE_BASE_URL"]


@pytest.mark.parametrize("environment", ["Xcode", "LocalTesting"])
def test_unsigned_environments_are_refused_in_development_too(environment: str) -> None:
    assert "APPLE_ENVIRONMENT" in named(debug=True, environment=environment)


def test_everything_that_is_missing_is_named_at_once() -> None:
    provider = AppleProvider("apple", {})
    assert len([fault for fault in provider.config_faults(debug=False) if fault.level == "error"]) == 6


def test_no_fault_tells_the_key() -> None:
    broken = PRIVATE_KEY.replace("BEGIN", "BEGINN")
    assert PRIVATE_KEY.splitlines()[1] not in str(faults(private_key=broken))


@pytest.mark.parametrize("lines", ["\n", "\\n"])
def test_a_root_may_be_pem_or_base64_and_the_key_in_one_line(lines: str) -> None:
    whole = lines.join(["-----BEGIN CERTIFICATE-----", CHAIN.root_base64, "-----END CERTIFICATE-----"])
    assert root_der(whole) == root_der(CHAIN.root_base64) == CHAIN.root_der
    assert named(private_key=PRIVATE_KEY.replace("\n", lines), root_certificates=whole) == []


def test_the_environment_switches_it_on_and_names_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "apple" not in configured(environ.Env())
    monkeypatch.setenv("APPLE_BUNDLE_ID", "com.example.app")
    monkeypatch.setenv("APPLE_ENVIRONMENT", "Sandbox")
    (settings,) = (value for name, value in configured(environ.Env()).items() if name == "apple")
    assert (settings["bundle_id"], settings["test_mode"], settings["online_checks"]) == ("com.example.app", True, True)
    assert registry.adapter_class(str(settings["adapter"])) is AppleProvider
    monkeypatch.setenv("APPLE_ENVIRONMENT", "Production")
    assert configured(environ.Env())["apple"]["test_mode"] is False


# --- what it can do ----------------------------------------------------------------------------------------------------

AT = datetime(2026, 1, 1, tzinfo=UTC)
CALLS: dict[str, dict[str, Any]] = {
    "create_subscription": {"request": sub_request()},
    "create_payment_link": {"request": link_request()},
    "charge": {"request": ChargeRequest("m", "c", Decimal("1.00"), "USD", "k")},
    "find_payment": {"idempotency_key": "k", "created_at": AT},
    "refund": {
        "provider_txn_id": "1",
        "amount": None,
        "currency": "USD",
        "reason": "",
        "idempotency_key": "k",
    },
    "cancel_subscription": {"provider_sub_id": "1"},
    "resume_subscription": {"provider_sub_id": "1"},
    "pause_subscription": {"provider_sub_id": "1"},
    "change_subscription": {
        "request": ChangeRequest("1", "p", "premium", Decimal("1.00"), "USD", (1, "monthly"), True, "k")
    },
    "acknowledge_purchase": {"provider_sub_id": "1"},
}


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


@pytest.mark.parametrize("method", CALLS)
def test_what_apple_has_no_call_for_is_refused_without_asking(listening: socket.socket, method: str) -> None:
    origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
    provider = AppleProvider("apple", config(base_url=origin, sandbox_base_url=origin))
    with pytest.raises(NotSupported):
        getattr(provider, method)(**CALLS[method])
    with pytest.raises(TimeoutError):
        listening.accept()


def test_capabilities_and_where_the_subscriber_goes() -> None:
    provider = AppleProvider("apple", config())
    assert provider.capabilities == Caps(
        attach=True,
        fetch_state=True,
        feed=True,
        grace=True,
        merchant_of_record=True,
        test_mode=True,
        renewal_driver="provider",
        price_set_by="provider",
    )
    assert provider.manage_url("1") == MANAGE_URL == "https://apps.apple.com/account/subscriptions"
