"""The adapter against a scripted server: what it sends, what it makes of each answer, and what it keeps to itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from providers.base import (
    Caps,
    LinkRequest,
    Outcome,
    ProviderError,
    SubRequest,
    Unavailable,
)
from providers.sandbox.adapter import SandboxProvider
from tests.providers.sandbox_support import KEY, SECRET, Receiver, Sandbox, config

AT = datetime(2026, 3, 1, tzinfo=UTC)
CHECKOUT = {"id": "cs_1", "url": "http://host/page", "status": "open", "expires_at": "2026-03-02T00:00:00+00:00"}
CHARGE = {"id": "pay_1", "status": "succeeded", "amount": "9.90", "currency": "USD"}


@pytest.fixture
def server() -> Receiver:
    return Receiver.emptied()


@pytest.fixture
def provider(server: Receiver) -> SandboxProvider:
    return _provider(server.url)


@cache
def _provider(url: str) -> SandboxProvider:
    return SandboxProvider("sandbox", config(f"{url}/sandbox"))


def sub_request(**changes: Any) -> SubRequest:
    return Sandbox("", Receiver(url="https://pay.example"), None, None).request(**changes)  # type: ignore[arg-type]


def charge_request(**changes: Any) -> Any:
    return Sandbox("", Receiver(), None, None).charge_request("pm_1", **changes)  # type: ignore[arg-type]


def test_a_checkout_on_the_wire(server: Receiver, provider: SandboxProvider) -> None:
    server.answer(201, CHECKOUT)

    result = provider.create_subscription(sub_request(metadata={"plan_name": "Pro"}, interval=(3, "monthly")))

    [sent] = server.received
    assert (sent.method, sent.path) == ("POST", "/sandbox/api/checkouts")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["idempotency-key"] == "checkout-1"
    assert b'"amount":9.90,' in sent.body
    assert sent.json == {
        "order_ref": "order-1",
        "kind": "subscription",
        "amount": Decimal("9.90"),
        "currency": "USD",
        "user_ref": "user-1",
        "plan_ref": "pro",
        "description": "Pro",
        "billed": "every 3 months",
        "email": "ann@example.com",
        "trial_days": 0,
        "success_url": "https://shop.example/paid",
        "cancel_url": "https://shop.example/left",
        "fail_url": "https://shop.example/failed",
        "hook_url": "https://pay.example/webhooks/sandbox",
    }
    assert (result.provider_sub_id, result.checkout_url, result.status) == (None, "http://host/page", "pending")
    assert result.expires_at == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_payment_link_on_the_wire(server: Receiver, provider: SandboxProvider) -> None:
    server.answer(200, CHECKOUT)
    request = LinkRequest(
        "user-1", "pro", "order-2", Decimal("1500"), "JPY", "", "https://a/s", "", "https://a/c", "", "link-1"
    )

    assert provider.create_payment_link(request).checkout_url == "http://host/page"
    assert server.received[0].json["kind"] == "link"
    assert b'"amount":1500,' in server.received[0].body


CALLS: dict[str, Callable[[SandboxProvider], Any]] = {
    "create": lambda p: p.create_subscription(sub_request()),
    "charge": lambda p: p.charge(charge_request()),
    "find": lambda p: p.find_payment("charge-1", AT),
    "refund": lambda p: p.refund(
        provider_txn_id="pay_1", amount=None, currency="USD", reason="", idempotency_key="refund-1"
    ),
}


def test_only_the_sandboxs_own_404_says_that_a_charge_was_never_seen(
    server: Receiver, provider: SandboxProvider
) -> None:
    server.answer(404, {"error": "no charge has this key", "code": "unknown"})
    assert provider.find_payment("charge-1", AT) is None

    # A page of a web server at a wrong address proves nothing: to charge again on it would charge twice.
    for body in (b"<h1>Not Found</h1>", b"[]", b'{"detail": "Not found"}'):
        server.answer(404, body)
        with pytest.raises(Unavailable):
            provider.find_payment("charge-1", AT)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id": 5}', b'{"id": "x", "status": "odd"}'])
def test_an_answer_that_cannot_be_read_is_unknown_not_failed(
    server: Receiver, provider: SandboxProvider, call: Callable[[SandboxProvider], Any], body: bytes
) -> None:
    server.answer(200, body)
    with pytest.raises(Unavailable):
        call(provider)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "decline", "action"),
    [
        (200, CHARGE, Outcome.SUCCEEDED, None, None),
        (
            402,
            {**CHARGE, "status": "declined", "code": "insufficient_funds", "recoverable": True},
            Outcome.DECLINED,
            ("insufficient_funds", True),
            None,
        ),
        (
            402,
            {**CHARGE, "status": "declined", "code": "stolen_card", "recoverable": False},
            Outcome.DECLINED,
            ("stolen_card", False),
            None,
        ),
        (
            200,
            {**CHARGE, "status": "requires_action", "action_url": "http://host/act"},
            Outcome.REQUIRES_ACTION,
            None,
            "http://host/act",
        ),
    ],
)
def test_a_decline_is_a_result(
    server: Receiver, provider: SandboxProvider, status: int, body: Any, outcome: Outcome, decline: Any, action: Any
) -> None:
    server.answer(status, body)

    result = provider.charge(charge_request())

    assert (result.outcome, result.provider_txn_id, result.action_url) == (outcome, "pay_1", action)
    assert (result.decline and (result.decline.code, result.decline.recoverable)) == decline


def test_a_charge_is_sent_once_and_what_is_safe_is_sent_again(server: Receiver, provider: SandboxProvider) -> None:
    server.answer(503)
    with pytest.raises(Unavailable):
        provider.charge(charge_request())
    assert len(server.received) == 1

    server.answer(503)
    server.answer(200, CHARGE)
    found = provider.find_payment("charge-1", AT)
    assert found is not None and found.outcome is Outcome.SUCCEEDED
    assert server.received[-1].path == "/sandbox/api/charges?idempotency_key=charge-1"
    assert len(server.received) == 3


def test_nobody_listening_is_unavailable() -> None:
    nobody = SandboxProvider("sandbox", config("http://127.0.0.1:9/sandbox"))
    with pytest.raises(Unavailable):
        nobody.charge(charge_request())


def test_capabilities() -> None:
    assert SandboxProvider("sandbox", {}).capabilities == Caps(
        create=True,
        hosted_checkout=True,
        trial=True,
        refund_full=True,
        refund_partial=True,
        merchant_charge=True,
        payment_link=True,
    )


def test_currencies() -> None:
    provider = SandboxProvider("sandbox", {})
    assert [c for c in ("USD", "JPY", "KWD", "usd", "XXX") if provider.supports_currency(c)] == ["USD", "JPY", "KWD"]


def faults(*, debug: bool = True, **changes: Any) -> list[str]:
    provider = SandboxProvider("sandbox", config(**{"base_url": "http://127.0.0.1:8000/sandbox", **changes}))
    return [f"{fault.level}: {fault.message}" for fault in provider.config_faults(debug=debug)]


def test_the_sandbox_is_refused_outside_debug_unless_allowed() -> None:
    refused = "error: the sandbox takes no real money and is refused outside debug"

    assert faults(debug=True, allow_outside_debug=False) == []
    assert faults(debug=False, allow_outside_debug=False) == [refused]
    assert faults(debug=False, allow_outside_debug=True) == []


@pytest.mark.parametrize("empty", ["", "  ", None])
@pytest.mark.parametrize("key", ["api_key", "webhook_secret", "base_url"])
def test_each_missing_setting_is_named(key: str, empty: str | None) -> None:
    assert faults(**{key: empty})[0] == f"error: SANDBOX_{key.upper()} is missing or empty"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"base_url": "ftp://host"}, "error: SANDBOX_BASE_URL is not an http(s) address"),
        ({"base_url": "http://[broken"}, "error: SANDBOX_BASE_URL is not an http(s) address"),
        ({"answer_seconds": 0}, "error: answer_seconds is not a number of seconds above 0"),
        ({"answer_seconds": "soon"}, "error: answer_seconds is not a number of seconds above 0"),
    ],
)
def test_each_wrong_setting_is_named(changes: dict[str, Any], fault: str) -> None:
    assert faults(**changes) == [fault]


def test_an_empty_configuration_is_all_faults_and_no_crash() -> None:
    assert len(SandboxProvider("sandbox", {}).config_faults(debug=False)) == 4


def test_secrets_and_personal_data_stay_out_of_logs_and_reprs(
    server: Receiver, provider: SandboxProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answer(201, CHECKOUT)
    server.answer(400, {"error": "ann@example.com"})
    provider.create_subscription(sub_request())
    with pytest.raises(ProviderError) as raised:
        provider.create_subscription(sub_request())

    shown = json.dumps([repr(provider), str(provider), repr(raised.value), caplog.text])
    for secret in (KEY, SECRET, "ann@example.com"):
        assert secret not in shown
