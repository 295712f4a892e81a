"""Lava's webhook: its proof, its key, its events. No network."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from providers.base import EventType, MalformedError, ProviderEvent, SignatureError, WebhookAnswer
from providers.lava.adapter import LavaProvider

SECRET_KEY = "secret-91be44-webhook"
OLD_SECRET_KEY = "secret-old-5d5d"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "lava" / "document_contract.json"

#: "Webhook from Lava" of the architecture document, its custom fields filled in.
BODY = {
    "invoice_id": "inv_1",
    "order_id": "sub_xxx",
    "status": "success",
    "pay_time": "2024-10-23T12:00:00Z",
    "amount": 6.99,
    "custom_fields": {"user_id": "user_123", "plan_id": "premium"},
}
RAW = json.dumps(BODY).encode()


def lava(**changes: Any) -> LavaProvider:
    config = {"base_url": "https://api.lava.top/v1", "api_key": "k", "secret_key": SECRET_KEY, "currency": "USD"}
    return LavaProvider("lava", {**config, **changes})


def sign(raw: bytes, secret: str = SECRET_KEY) -> str:
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def signed(raw: bytes, secret: str = SECRET_KEY) -> dict[str, str]:
    return {"x-lava-signature": sign(raw, secret), "content-type": "application/json"}


def raw_with(**changes: Any) -> bytes:
    """The delivery with other fields; `...` takes one away."""
    return json.dumps({key: value for key, value in {**BODY, **changes}.items() if value is not ...}).encode()


def parsed(raw: bytes) -> list[ProviderEvent]:
    return lava().parse_webhook({}, raw)


# --- the proof -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [str, str.upper, lambda s: f"  {s}\t", lambda s: s[:32].upper() + s[32:]], ids=lambda shape: shape.__name__
)
def test_good_signature_is_accepted_in_any_case(shape: Any) -> None:
    lava().verify_webhook({"x-lava-signature": shape(sign(RAW))}, RAW, NOW)


def test_both_secrets_count_while_they_are_rotated() -> None:
    rotating = lava(previous_secret_key=OLD_SECRET_KEY)

    rotating.verify_webhook(signed(RAW), RAW, NOW)
    rotating.verify_webhook(signed(RAW, OLD_SECRET_KEY), RAW, NOW)
    with pytest.raises(SignatureError):
        lava(previous_secret_key="").verify_webhook(signed(RAW, OLD_SECRET_KEY), RAW, NOW)


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


def test_every_flipped_byte_is_noticed() -> None:
    provider, headers = lava(), signed(RAW)

    for at in range(len(RAW)):
        with pytest.raises(SignatureError):
            provider.verify_webhook(headers, RAW[:at] + bytes([RAW[at] ^ 1]) + RAW[at + 1 :], NOW)


def test_without_a_secret_nothing_is_authentic() -> None:
    for empty in ("", None, "  "):
        with pytest.raises(SignatureError):
            lava(secret_key=empty).verify_webhook(signed(RAW, str(empty or "")), RAW, NOW)


def test_largest_body_is_still_read() -> None:
    raw = RAW[:-1] + b" " * (64 * 1024 - len(RAW)) + b"}"

    lava().verify_webhook(signed(raw), raw, NOW)
    assert len(raw) == 64 * 1024
    assert len(parsed(raw)) == 1


def test_proof_comes_before_parsing() -> None:
    broken = b'{"invoice_id": '

    with pytest.raises(SignatureError):
        lava().verify_webhook({"x-lava-signature": sign(RAW)}, broken, NOW)
    lava().verify_webhook(signed(broken), broken, NOW)
    for method in (lava().delivery_key, lava().parse_webhook):
        with pytest.raises(MalformedError):
            method(signed(broken), broken)


def test_answer_is_an_empty_200() -> None:
    assert lava().webhook_response(signed(RAW), RAW, NOW) == WebhookAnswer(200, "text/plain", b"")


# --- key and events --------------------------------------------------------------------------------------------------


def test_documents_webhook_is_one_payment() -> None:
    [event] = parsed(RAW)

    assert event == ProviderEvent(
        provider="lava",
        event_id="lava:inv_1:success#0",
        type=EventType.PAYMENT_SUCCEEDED,
        occurred_at=datetime(2024, 10, 23, 12, 0, tzinfo=UTC),
        provider_payment_id="inv_1",
        order_ref="xxx",
        user_ref="user_123",
        plan_ref="premium",
        amount=Decimal("6.99"),
        currency="USD",
        raw=json.loads(RAW, parse_float=Decimal),
    )
    assert isinstance(event.amount, Decimal)
    assert not event.is_test


@pytest.mark.parametrize(
    ("status", "type_", "reason"),
    [
        ("success", EventType.PAYMENT_SUCCEEDED, None),
        ("completed", EventType.PAYMENT_SUCCEEDED, None),
        ("SUCCESS", EventType.PAYMENT_SUCCEEDED, None),
        ("failed", EventType.PAYMENT_FAILED, "failed"),
        ("fail", EventType.PAYMENT_FAILED, "fail"),
        ("error", EventType.PAYMENT_FAILED, "error"),
        ("cancel", EventType.PAYMENT_FAILED, "cancel"),
        ("expired", EventType.PAYMENT_FAILED, "expired"),
        ("Failed", EventType.PAYMENT_FAILED, "failed"),
    ],
)
def test_status_decides_the_event(status: str, type_: EventType, reason: str | None) -> None:
    raw = raw_with(status=status)
    [event] = parsed(raw)

    assert (event.type, event.reason, event.provider_payment_id) == (type_, reason, "inv_1")
    assert event.event_id == f"lava:inv_1:{status.lower()}#0" == lava().delivery_key({}, raw) + "#0"


@pytest.mark.parametrize("status", ["created", "pending", "refund", "successful", "0"])
def test_unknown_status_is_ignored_with_a_line_in_the_log(status: str, caplog: pytest.LogCaptureFixture) -> None:
    raw = raw_with(status=status, amount="anything", pay_time=..., email="anna@example.com")

    assert parsed(raw) == []
    assert status in caplog.text
    assert "user_123" not in caplog.text
    assert "anna@example.com" not in caplog.text
    assert lava().delivery_key({}, raw) == f"lava:inv_1:{status}"


def test_key_is_the_same_for_a_redelivery_and_another_for_every_charge() -> None:
    keys = [lava().delivery_key({}, raw_with(invoice_id=f"inv_{n}")) for n in (1, 1, 2, 3)]
    keys.append(lava().delivery_key({}, raw_with(status="failed")))

    assert keys == [
        "lava:inv_1:success",
        "lava:inv_1:success",
        "lava:inv_2:success",
        "lava:inv_3:success",
        "lava:inv_1:failed",
    ]


def test_key_fits_the_column() -> None:
    raw = raw_with(invoice_id="i" * 180, status="success")

    assert len(parsed(raw)[0].event_id) <= 255
    with pytest.raises(MalformedError):
        lava().delivery_key({}, raw_with(invoice_id="i" * 181))


@pytest.mark.parametrize(
    ("wire", "amount"),
    [
        ("6.99", "6.99"),
        ('"6.99"', "6.99"),
        ('"990.00"', "990.00"),
        ("990", "990"),
        ("990.0", "990.0"),
        ("6.990", "6.990"),
        ("699e-2", "6.99"),
        ("6.99E0", "6.99"),
        ("0.1", "0.1"),
        ("0", "0"),
        ("123456789012345.6789", "123456789012345.6789"),
    ],
)
def test_amount_is_exact(wire: str, amount: str) -> None:
    raw = RAW.replace(b"6.99", wire.encode())
    [event] = parsed(raw)

    assert type(event.amount) is Decimal
    assert str(event.amount) == amount


@pytest.mark.parametrize(
    "wire",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        '"NaN"',
        '"Infinity"',
        '"sNaN"',
        "-6.99",
        '"-6.99"',
        "-0.0",
        '""',
        '" "',
        '"6,99"',
        '"6.99 USD"',
        '"1e2"',
        '"1_000"',
        '"+1"',
        '".5"',
        '"5."',
        '"٦"',
        "true",
        "null",
        "[]",
        "{}",
        "1e400",
        "1e-400",
        "1e999999999999999999",
        "1e99999999999999999999",
        "9" * 5000,
        "0.00001",
        "1234567890123456",
        '"' + "9" * 5000 + '"',
    ],
)
def test_amount_that_is_no_money_is_malformed(wire: str) -> None:
    with pytest.raises(MalformedError):
        parsed(RAW.replace(b"6.99", wire.encode()))


@pytest.mark.parametrize(
    ("pay_time", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+03:00", datetime(2026, 1, 2, 0, 4, 5, tzinfo=UTC)),
        ("2024-02-05T09:38:27.33277Z", datetime(2024, 2, 5, 9, 38, 27, 332770, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2022-11-08 11:26:46", datetime(2022, 11, 8, 11, 26, 46, tzinfo=UTC)),
        ("2028-02-29T23:59:59-01:00", datetime(2028, 3, 1, 0, 59, 59, tzinfo=UTC)),
    ],
)
def test_time_is_aware_utc(pay_time: str, moment: datetime) -> None:
    [event] = parsed(raw_with(pay_time=pay_time))

    assert event.occurred_at == moment
    assert event.occurred_at.tzinfo is UTC


@pytest.mark.parametrize("pay_time", ["yesterday", "2026-02-30T00:00:00Z", 1767322800, True, [], {}])
@pytest.mark.parametrize("status", ["success", "failed"])
def test_time_that_cannot_be_read_is_malformed(pay_time: object, status: str) -> None:
    with pytest.raises(MalformedError):
        parsed(raw_with(pay_time=pay_time, status=status))


def test_time_outside_the_calendar_is_malformed() -> None:
    for pay_time in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        with pytest.raises(MalformedError):
            parsed(raw_with(pay_time=pay_time))


@pytest.mark.parametrize("none", [..., None, ""])
def test_payment_needs_its_time_and_a_failure_does_not(none: object) -> None:
    with pytest.raises(MalformedError):
        parsed(raw_with(pay_time=none))

    before = datetime.now(UTC)
    [event] = parsed(raw_with(pay_time=none, amount=..., status="failed"))

    assert before <= event.occurred_at <= datetime.now(UTC)
    assert event.amount is None


@pytest.mark.parametrize("field", ["invoice_id", "order_id", "status"])
@pytest.mark.parametrize(
    "value", [..., None, "", "  ", True, 1.5, [], {}, "a\x00b", "a\nb", "\ud800", "x" * 300], ids=repr
)
def test_delivery_without_its_names_is_malformed(field: str, value: object) -> None:
    raw = raw_with(**{field: value})

    for method in (lava().delivery_key, lava().parse_webhook):
        with pytest.raises(MalformedError):
            method({}, raw)


def test_missing_amount_of_a_payment_is_malformed() -> None:
    with pytest.raises(MalformedError):
        parsed(raw_with(amount=...))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"\xff",
        RAW.replace(b"premium", b"\xff"),
        b"\xef\xbb\xbf" + RAW,
        RAW.decode().encode("utf-16"),
        b"[" * 60000,
        b'{"a":' * 12000,
        RAW + b"x",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_body_that_is_no_json_object_is_malformed(raw: bytes) -> None:
    for method in (lava().delivery_key, lava().parse_webhook):
        with pytest.raises(MalformedError):
            method({}, raw)


@pytest.mark.parametrize(
    ("custom", "user_ref", "plan_ref"),
    [
        ({"user_id": "42", "plan_id": "про"}, "42", "про"),
        ({"user_id": 42}, "42", None),
        ({"user_id": "", "plan_id": None}, None, None),
        ({"user_id": ["42"], "plan_id": "a\x00b"}, None, None),
        ({}, None, None),
        (None, None, None),
        (..., None, None),
        ("test", None, None),
        ([], None, None),
    ],
)
def test_custom_fields_are_optional(custom: object, user_ref: str | None, plan_ref: str | None) -> None:
    [event] = parsed(raw_with(custom_fields=custom))

    assert (event.user_ref, event.plan_ref) == (user_ref, plan_ref)
    assert event.amount == Decimal("6.99")


def test_unknown_fields_are_kept_and_change_nothing() -> None:
    [event] = parsed(raw_with(pay_service="card", credited="6.50", currency="XXX", type=1))

    assert (event.amount, event.currency, event.order_ref) == (Decimal("6.99"), "USD", "xxx")
    assert event.raw["pay_service"] == "card"


@pytest.mark.parametrize(("order_id", "order_ref"), [("sub_xxx", "xxx"), ("ord_42", "ord_42"), ("sub_sub_1", "sub_1")])
def test_order_ref_is_the_order_id_without_our_prefix(order_id: str, order_ref: str) -> None:
    assert parsed(raw_with(order_id=order_id))[0].order_ref == order_ref


def test_event_carries_the_name_and_currency_of_its_configuration() -> None:
    second = LavaProvider("lava_eu", {"secret_key": "x", "currency": "EUR"})

    [event] = second.parse_webhook({}, RAW)

    assert (event.provider, event.currency) == ("lava_eu", "EUR")


def test_body_does_not_show_in_an_events_repr() -> None:
    [event] = parsed(raw_with(payer_details="553691******8079"))

    assert "553691" not in repr(event)


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


def mutated(raw: bytes, dice: random.Random) -> bytes:
    body = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(body) or 1)
        match dice.randrange(5):
            case 0:
                body[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                body[at:at] = dice.randbytes(dice.randint(1, 3))
            case 2:
                del body[at : at + dice.randint(1, 8)]
            case 3:
                body[at : at + 1] = dice.choice([b'"', b"{", b"}", b"[", b"\\u0000", b"1e999", b"NaN", b"null", b"-"])
            case _:
                body = body[:at]
        body = body or bytearray(b"x")
    return bytes(body)


def test_noise_never_passes_and_never_breaks_the_parser() -> None:
    dice, provider, headers = random.Random(25), lava(), signed(RAW)
    refused = 0

    for _ in range(2000):
        raw = mutated(RAW, dice)
        if raw == RAW:
            continue
        with pytest.raises(SignatureError):
            provider.verify_webhook(headers, raw, NOW)
        provider.verify_webhook(signed(raw), raw, NOW)
        try:
            provider.delivery_key({}, raw)
            for event in provider.parse_webhook({}, raw):
                assert event.amount is None or (event.amount.is_finite() and event.amount >= 0)
                assert event.occurred_at.tzinfo is UTC
        except MalformedError:
            refused += 1

    assert refused > 500


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
