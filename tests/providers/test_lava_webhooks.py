"""Lava's webhook: its proof, the shared vectors, noise. No network."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, MalformedError, SignatureError
from tests.providers.lava_support import (
    BODY,
    OLD_SECRET_KEY,
    RAW,
    SECRET_KEY,
    VECTORS,
    lava,
    parsed,
    raw_with,
    sign,
    signed,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


# --- the proof -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [str, str.upper, lambda s: f"  {s}\t", lambda s: s[:32].upper() + s[32:]], ids=lambda shape: shape.__name__
)
def test_good_signature_is_accepted_in_any_case(shape: Any) -> None:
    lava().verify_webhook({"x-lava-signature": shape(sign(RAW))}, RAW, NOW)


def flipped(text: str, at: int) -> str:
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


@pytest.mark.parametrize(
    ("header", "raw"),
    [
        pytest.param(None, RAW, id="missing"),
        pytest.param("", RAW, id="empty"),
        pytest.param("   ", RAW, id="blank"),
        pytest.param(sign(RAW, "another"), RAW, id="another secret"),
        pytest.param(sign(RAW, ""), RAW, id="no secret"),
        pytest.param(sign(RAW), RAW.replace(b"6.99", b"0.99"), id="another amount"),
        pytest.param(sign(RAW), RAW + b"\n", id="one byte more"),
        pytest.param(sign(RAW), RAW[:-1], id="one byte less"),
        pytest.param(sign(RAW), json.dumps(BODY, separators=(",", ":")).encode(), id="same JSON, other bytes"),
        pytest.param(flipped(sign(RAW), 0), RAW, id="first digit"),
        pytest.param(flipped(sign(RAW), 63), RAW, id="last digit"),
        pytest.param(sign(RAW)[:-1], RAW, id="truncated"),
        pytest.param(sign(RAW) + "0", RAW, id="longer"),
        pytest.param(f"sha256={sign(RAW)}", RAW, id="prefixed"),
        pytest.param(f"{sign(RAW, 'x')}, {sign(RAW)}", RAW, id="a list"),
        pytest.param("é" * 64, RAW, id="not ASCII"),
        pytest.param("\udce9" * 64, RAW, id="not even text"),
        pytest.param(hashlib.sha256(RAW).hexdigest(), RAW, id="plain hash"),
        pytest.param(hmac.new(SECRET_KEY.encode(), RAW, hashlib.md5).hexdigest(), RAW, id="md5"),
        pytest.param(sign(b"[" * 65537), b"[" * 65537, id="too large, well signed"),
        pytest.param(sign(b""), RAW, id="signature of nothing"),
    ],
)
def test_bad_signature_is_rejected(header: str | None, raw: bytes) -> None:
    headers = {} if header is None else {"x-lava-signature": header}

    with pytest.raises(SignatureError):
        lava().verify_webhook(headers, raw, NOW)


def test_without_a_secret_nothing_is_authentic() -> None:
    for empty in ("", None, "  "):
        with pytest.raises(SignatureError):
            lava(secret_key=empty).verify_webhook(signed(RAW, str(empty or "")), RAW, NOW)


def test_largest_body_is_still_read() -> None:
    raw = RAW[:-1] + b" " * (64 * 1024 - len(RAW)) + b"}"

    lava().verify_webhook(signed(raw), raw, NOW)
    assert len(raw) == 64 * 1024
    assert len(parsed(raw)) == 1


# --- vectors and noise -----------------------------------------------------------------------------------------------


def vector_cases() -> list[Mapping[str, Any]]:
    return json.loads(VECTORS.read_text())["cases"] if VECTORS.exists() else []


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_vectors_of_the_documents_contract() -> None:
    secret = json.loads(VECTORS.read_text())["secret_key"]
    provider = lava(secret_key=secret)

    for case in vector_cases():
        raw, headers = case["raw_body"].encode(), {"x-lava-signature": case["signature"]}
        if not case.get("valid", True):
            with pytest.raises(SignatureError):
                provider.verify_webhook(headers, raw, NOW)
            continue
        provider.verify_webhook(headers, raw, NOW)
        [event] = provider.parse_webhook(headers, raw)
        body = json.loads(raw)
        succeeded = body["status"] == "success"
        assert event.type is (EventType.PAYMENT_SUCCEEDED if succeeded else EventType.PAYMENT_FAILED), case["name"]
        assert event.occurred_at == NOW
        assert (event.amount, event.user_ref) == (Decimal("990.00"), "42")
        assert event.plan_ref == body["custom_fields"]["plan_id"]


def test_errors_and_logs_hold_no_secret_and_no_body(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    provider, texts = lava(previous_secret_key=OLD_SECRET_KEY), []
    for headers, raw in (
        ({}, RAW),
        ({"x-lava-signature": "0" * 64}, RAW),
        (signed(b"{"), b"{"),
        (signed(raw_with(amount="Anna")), raw_with(amount="Anna")),
        (signed(raw_with(pay_time="Anna")), raw_with(pay_time="Anna")),
    ):
        with pytest.raises((SignatureError, MalformedError)) as raised:
            provider.verify_webhook(headers, raw, NOW)
            provider.parse_webhook(headers, raw)
        texts += [str(raised.value), repr(raised.value)]

    for text in [*texts, caplog.text]:
        for secret in (SECRET_KEY, OLD_SECRET_KEY, sign(RAW), "user_123", "Anna"):
            assert secret not in text
