"""Signature, parsing and fuzzing of the sandbox's deliveries: pure, no database, no network."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, MalformedError, ProviderEvent, SignatureError, StoredMethod
from providers.sandbox.adapter import SandboxProvider
from providers.sandbox.signature import sign
from tests.providers.sandbox_support import SECRET, config

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BODY = b'{"id":"evt_1","type":"payment.succeeded","created_at":"2026-03-01T12:00:00+00:00","data":{}}'
METHOD = {"ref": "pm_1", "customer": "cus_1", "brand": "visa", "last4": "4242"}
PAYMENT = {
    "payment_id": "pay_1",
    "order_ref": "order-1",
    "idempotency_key": "checkout-1",
    "amount": "9.90",
    "currency": "USD",
    "user_ref": "user-1",
    "plan_ref": "pro",
    "method": METHOD,
}


@pytest.fixture
def provider() -> SandboxProvider:
    return SandboxProvider("sandbox", config("http://127.0.0.1:9/sandbox", previous_webhook_secret="the_old_secret"))


def event(type_: str, data: Any, **changes: Any) -> bytes:
    whole = {"id": "evt_1", "type": type_, "created_at": "2026-03-01T12:00:00+00:00", "data": data, **changes}
    return json.dumps(whole).encode()


def headers(value: str) -> dict[str, str]:
    return {"x-sandbox-signature": value}


def test_the_signature_is_the_documented_hmac() -> None:
    stamp = int(NOW.timestamp())
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + BODY, hashlib.sha256).hexdigest()

    assert sign(SECRET, BODY, NOW) == f"t={stamp},v1={expected}"


@pytest.mark.parametrize("secret", [SECRET, "the_old_secret"])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(minutes=5), timedelta(minutes=-5)])
def test_genuine_deliveries_pass_under_both_secrets(provider: SandboxProvider, secret: str, age: timedelta) -> None:
    provider.verify_webhook(headers(sign(secret, BODY, NOW - age)), BODY, NOW)


def test_one_matching_signature_of_several_is_enough(provider: SandboxProvider) -> None:
    good, foreign = sign(SECRET, BODY, NOW), sign("foreign", BODY, NOW)

    provider.verify_webhook(headers(foreign + "," + good.partition(",")[2]), BODY, NOW)


GOOD = sign(SECRET, BODY, NOW)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "t=,v1=",
        GOOD[:-1],
        GOOD + "0",
        GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1"),
        GOOD.upper(),
        GOOD.partition(",")[0],
        GOOD.partition(",")[2],
        GOOD.partition("v1=")[2],
        GOOD.replace("t=", "t=-"),
        GOOD.replace("t=", "t=9"),
        GOOD.replace("v1=", "v0="),
        GOOD.replace("t=1", "t=\u0661"),
        sign("foreign", BODY, NOW),
        sign("", BODY, NOW),
        sign(SECRET, BODY, NOW - timedelta(minutes=5, seconds=1)),
        sign(SECRET, BODY, NOW + timedelta(minutes=5, seconds=1)),
        "sha256=" + hashlib.sha256(BODY).hexdigest(),
        "t=1,v1=\ud800",
    ],
)
def test_everything_else_is_a_signature_error(provider: SandboxProvider, value: str) -> None:
    with pytest.raises(SignatureError):
        provider.verify_webhook(headers(value), BODY, NOW)


def test_a_missing_header_or_secret_proves_nothing() -> None:
    without = SandboxProvider("sandbox", config("http://127.0.0.1:9", webhook_secret=""))
    for given in ({}, headers(sign("", BODY, NOW)), {"x-lava-signature": GOOD}):
        with pytest.raises(SignatureError):
            without.verify_webhook(given, BODY, NOW)


COMMON: dict[str, Any] = {
    "provider": "sandbox",
    "event_id": "evt_1#0",
    "occurred_at": NOW,
    "order_ref": "order-1",
    "idempotency_key": "checkout-1",
    "user_ref": "user-1",
    "plan_ref": "pro",
    "amount": Decimal("9.90"),
    "currency": "USD",
    "method": StoredMethod("pm_1", "cus_1", "card", "visa", "4242"),
}


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        (
            "payment.succeeded",
            PAYMENT,
            ProviderEvent(**COMMON, type=EventType.PAYMENT_SUCCEEDED, provider_payment_id="pay_1"),
        ),
        (
            "payment.failed",
            {**PAYMENT, "method": None, "code": "stolen_card", "recoverable": False},
            ProviderEvent(
                **{**COMMON, "method": None},
                type=EventType.PAYMENT_FAILED,
                provider_payment_id="pay_1",
                reason="stolen_card",
                recoverable=False,
            ),
        ),
        (
            "payment.refunded",
            {**PAYMENT, "refund_id": "re_1", "idempotency_key": "refund-1", "amount": "4.00", "reason": "sorry"},
            ProviderEvent(
                **{**COMMON, "idempotency_key": "refund-1", "amount": Decimal("4.00")},
                type=EventType.PAYMENT_REFUNDED,
                provider_payment_id="re_1",
                parent_payment_id="pay_1",
                reason="sorry",
            ),
        ),
        (
            "checkout.completed",
            {**{k: v for k, v in PAYMENT.items() if k not in ("payment_id", "amount", "currency")}, "trial_days": 14},
            ProviderEvent(**{**COMMON, "amount": None, "currency": None}, type=EventType.SUBSCRIPTION_ACTIVATED),
        ),
    ],
)
def test_each_documented_type_is_read(
    provider: SandboxProvider, type_: str, data: dict[str, Any], expected: ProviderEvent
) -> None:
    raw = event(type_, {**data, "unknown_field": [1, {"a": 1.5}]})

    [parsed] = provider.parse_webhook({}, raw)

    assert {k: getattr(parsed, k) for k in ProviderEvent.__slots__ if k != "raw"} == {
        k: getattr(expected, k) for k in ProviderEvent.__slots__ if k != "raw"
    }
    assert provider.delivery_key({}, raw) == "evt_1"
    assert parsed.is_test is False  # the sandbox plays a real provider: a test event grants nothing
    assert parsed.amount is None or str(parsed.amount) == data["amount"]


def test_optional_fields_may_be_missing(provider: SandboxProvider) -> None:
    [parsed] = provider.parse_webhook(
        {}, event("payment.succeeded", {"payment_id": "pay_1", "amount": "1500", "currency": "JPY"})
    )

    assert (parsed.order_ref, parsed.method, parsed.amount) == (None, None, Decimal(1500))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"id":' + b"9" * 5000 + b"}",
        event("payment.succeeded", PAYMENT, id="x" * 300),
        event("payment.succeeded", PAYMENT, id=True),
        event("payment.succeeded", PAYMENT, created_at="yesterday"),
        event("payment.succeeded", PAYMENT, created_at="2026-03-01T12:00:00"),
        event("payment.succeeded", PAYMENT, created_at="0001-01-01T00:00:00+14:00"),
        event("payment.succeeded", [PAYMENT]),
        event("payment.succeeded", {**PAYMENT, "amount": "NaN"}),
        event("payment.succeeded", {**PAYMENT, "amount": "-1"}),
        event("payment.succeeded", {**PAYMENT, "amount": "1E+99"}),
        event("payment.succeeded", {**PAYMENT, "amount": "0.00001"}),
        event("payment.succeeded", {**PAYMENT, "amount": None}),
        event("payment.succeeded", {**PAYMENT, "currency": "US"}),
        event("payment.succeeded", {**PAYMENT, "order_ref": "\x00"}),
        event("payment.succeeded", {**PAYMENT, "order_ref": "\ud800"}),
        event("payment.succeeded", {**PAYMENT, "method": "pm_1"}),
        event("payment.succeeded", {**PAYMENT, "method": {}}),
        event("payment.refunded", PAYMENT),
        event("checkout.completed", {}),
    ],
)
def test_what_is_not_documented_is_malformed(provider: SandboxProvider, raw: bytes) -> None:
    with pytest.raises(MalformedError):
        provider.parse_webhook({}, raw)
