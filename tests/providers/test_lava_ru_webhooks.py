"""Webhooks of lava.ru: the proof in both of its forms, what each type says, noise. No network."""

from __future__ import annotations

import json
import logging
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, MalformedError, ProviderEvent, SignatureError, WebhookAnswer
from tests.emulators.lava.ru import canonical
from tests.providers.lava_flavours import (
    ADDITIONAL_KEY,
    OLD_ADDITIONAL_KEY,
    RU_CASES,
    RU_ORDER,
    RU_PAYMENT,
    RU_STATE,
    RU_SUBSCRIPTION,
    SHOP_KEY,
    lava_ru,
    php_json,
    ru_signed,
)
from tests.providers.lava_support import VECTORS, sign

NOW = datetime(2026, 11, 8, 9, 0, tzinfo=UTC)
HEADERS, RAW = ru_signed(RU_PAYMENT)


def verify(signature: str | None, raw: bytes = RAW, **changes: Any) -> None:
    lava_ru(**changes).verify_webhook({} if signature is None else {"authorization": signature}, raw, NOW)


def parsed(body: dict[str, Any]) -> list[ProviderEvent]:
    return lava_ru().parse_webhook({}, json.dumps(body).encode())


# --- the proof -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [RAW, php_json(RU_PAYMENT)], ids=["raw", "canonical"])
@pytest.mark.parametrize("shape", [str, str.upper, lambda s: f" {s}\t"], ids=["as is", "upper", "padded"])
def test_either_form_is_accepted_in_any_case(message: bytes, shape: Any) -> None:
    verify(shape(sign(message, ADDITIONAL_KEY)))


def test_both_keys_count_while_they_are_rotated() -> None:
    old = sign(RAW, OLD_ADDITIONAL_KEY)

    verify(old, previous_additional_key=OLD_ADDITIONAL_KEY)
    with pytest.raises(SignatureError):
        verify(old)


GOOD = HEADERS["authorization"]


@pytest.mark.parametrize(
    ("signature", "raw"),
    [
        pytest.param(None, RAW, id="missing"),
        pytest.param("  ", RAW, id="blank"),
        pytest.param(sign(RAW, "another"), RAW, id="another key"),
        pytest.param(sign(RAW, ""), RAW, id="no key"),
        pytest.param(sign(RAW, SHOP_KEY), RAW, id="the key of our calls"),
        pytest.param(GOOD, RAW.replace(b"990.00", b"1.00"), id="another amount"),
        pytest.param(GOOD, RAW.replace(b"success", b"Success"), id="another status"),
        pytest.param(GOOD, RAW[:-1], id="truncated"),
        pytest.param(GOOD, RAW[:-1] + b',"more":1}', id="a field more"),
        pytest.param(GOOD[:-1], RAW, id="truncated signature"),
        pytest.param(f"Bearer {GOOD}", RAW, id="a scheme"),
        pytest.param("é" * 64, RAW, id="not ASCII"),
        pytest.param(GOOD, b"\xff\xfe", id="no text"),
        pytest.param(GOOD, b"[" * 30000, id="deep"),
        pytest.param(GOOD, b'{"type": 1e99999999999999999999}', id="absurd number"),
        pytest.param(sign(b" " * 65537, ADDITIONAL_KEY), b" " * 65537, id="too large, well signed"),
    ],
)
def test_bad_signature_is_rejected(signature: str | None, raw: bytes) -> None:
    with pytest.raises(SignatureError):
        verify(signature, raw)


def test_a_number_that_loses_digits_in_the_canonical_form_is_not_proven_by_it() -> None:
    """0.10000000000000000001 is 0.1 there: what is proven must be what is read."""
    proof = sign(b'{"amount":0.1}', ADDITIONAL_KEY)

    verify(proof, b'{"amount": 0.1}')
    with pytest.raises(SignatureError):
        verify(proof, b'{"amount": 0.10000000000000000001}')


@pytest.mark.parametrize("empty", ["", None, " "])
def test_without_a_key_nothing_is_authentic(empty: str | None) -> None:
    with pytest.raises(SignatureError):
        verify(sign(RAW, empty or ""), additional_key=empty)


def test_proof_comes_before_parsing() -> None:
    broken = b'{"type": 1, "status": '

    with pytest.raises(SignatureError):
        verify(GOOD, broken)
    verify(sign(broken, ADDITIONAL_KEY), broken)
    for method in (lava_ru().delivery_key, lava_ru().parse_webhook):
        with pytest.raises(MalformedError):
            method({}, broken)


def test_noise_is_refused_and_nothing_else() -> None:
    rng, provider, values = random.Random(15), lava_ru(), json.loads(RAW)
    for _ in range(500):
        raw = bytearray(RAW)
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            provider.verify_webhook(HEADERS, bytes(raw), NOW)
        except SignatureError:
            pass
        else:
            assert json.loads(raw) == values  # another spelling of the same
        try:
            provider.delivery_key({}, bytes(raw))
            provider.parse_webhook({}, bytes(raw))
        except MalformedError:
            pass


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_the_published_vector_is_authentic_in_both_forms() -> None:
    pack = json.loads((VECTORS.parent / "lava_ru_webhook_sdk.json").read_text())
    raw = pack["raw_body_compact"].encode()

    for name in ("signature_ksort", "signature_raw"):
        verify(pack[name], raw, additional_key=pack["additional_key"])
    assert php_json(pack["payload"]) == canonical(pack["payload"]) == pack["canonical"].encode()
    [event] = lava_ru().parse_webhook({}, raw)
    assert (event.type, event.amount, event.currency) == (EventType.PAYMENT_SUCCEEDED, Decimal("1.00"), "RUB")
    assert event.occurred_at == datetime(2022, 11, 8, 8, 26, 46, tzinfo=UTC)  # Moscow's 11:26:46
    assert event.order_ref == "636a3c2f3e82b"


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "types"), RU_CASES)
def test_each_type_and_status_says_what_the_table_does(body: dict[str, Any], types: list[EventType]) -> None:
    assert [event.type for event in parsed(body)] == types


def test_payment_is_read_whole() -> None:
    [event] = parsed(RU_PAYMENT)

    assert event.event_id == f"lavaru:{RU_PAYMENT['invoice_id']}:success#0"
    assert event.provider_payment_id == RU_PAYMENT["invoice_id"]
    assert (event.amount, event.currency) == (Decimal("990.00"), "RUB")
    assert event.occurred_at == datetime(2026, 11, 8, 8, 26, 46, tzinfo=UTC)
    assert (event.order_ref, event.user_ref, event.plan_ref) == (RU_ORDER, "user_123", "про/1")
    assert event.reason is None


@pytest.mark.parametrize("order", [f"{RU_ORDER}-r2", f"{RU_ORDER}-r9"])
def test_a_later_page_of_an_order_is_that_orders(order: str) -> None:
    assert parsed({**RU_PAYMENT, "order_id": order})[0].order_ref == RU_ORDER


def test_state_is_a_hint_with_its_end() -> None:
    [event] = parsed(RU_STATE)

    assert event.event_id == f"lavaru:sub:{RU_SUBSCRIPTION}:activated:2026-12-08T08:26:46+00:00#0"
    assert event.provider_sub_id == RU_SUBSCRIPTION
    assert event.period_end == datetime(2026, 12, 8, 8, 26, 46, tzinfo=UTC)


@pytest.mark.parametrize("custom", [None, "test", "[1]", "{", {"user_id": 5}, '{"user_id": "\\u0000"}'])
def test_custom_fields_of_any_shape_are_tolerated(custom: object) -> None:
    [event] = parsed({**RU_PAYMENT, "custom_fields": custom})

    assert event.user_ref == ("5" if isinstance(custom, dict) else None)


def test_a_failure_needs_neither_time_nor_amount() -> None:
    body = {key: value for key, value in RU_PAYMENT.items() if key not in ("pay_time", "amount")}

    [event] = parsed({**body, "status": "expired"})
    assert (event.type, event.amount, event.reason) == (EventType.PAYMENT_FAILED, None, "expired")
    with pytest.raises(MalformedError):
        parsed(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"invoice_id": None},
        {"status": ""},
        {"status": 5.5},
        {"amount": "-1"},
        {"amount": "1,00"},
        {"amount": float("1e30")},
        {"pay_time": "yesterday"},
        {"order_id": ["x"]},
    ],
)
def test_what_is_not_documented_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parsed({**RU_PAYMENT, **changes})


def test_a_state_of_nobody_is_malformed() -> None:
    with pytest.raises(MalformedError):
        parsed({"type": 4, "status": "activated"})


def test_keys_are_those_of_the_facts() -> None:
    def key(body: dict[str, Any]) -> str:
        return lava_ru().delivery_key({}, json.dumps(body).encode())

    keys = [
        key(body)
        for body in (
            RU_PAYMENT,
            {**RU_PAYMENT, "status": "error"},
            {**RU_PAYMENT, "invoice_id": "other"},
            RU_STATE,
            {**RU_STATE, "status": "deactivated"},
            {**RU_STATE, "next_pay_time": "2027-01-08 11:26:46"},
            {"type": 2, "id": 1},
            {"type": 2, "id": 2},
        )
    ]
    assert len(set(keys)) == len(keys)
    assert key({**RU_PAYMENT, "pay_service": "sbp"}) == keys[0]


def test_answer_is_a_bare_200() -> None:
    assert lava_ru().webhook_response(HEADERS, RAW, NOW) == WebhookAnswer(200, "text/plain", b"")


def test_unknown_words_are_logged_without_anything_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    parsed({**RU_PAYMENT, "status": "pondered"})
    parsed({**RU_STATE, "status": "bewitched"})

    assert "pondered" in caplog.text
    assert "bewitched" in caplog.text
    assert "553691" not in caplog.text
