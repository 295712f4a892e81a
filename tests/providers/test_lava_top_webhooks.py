"""Webhooks of lava.top: the key, what each kind hints at, reversals, noise. No network."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, MalformedError, ProviderEvent, SignatureError
from tests.providers.lava_flavours import (
    BUYER,
    FIRST,
    OLD_WEBHOOK_KEY,
    SECOND,
    TOP_CANCELLED,
    TOP_CASES,
    TOP_PAID,
    TOP_REFUND,
    WEBHOOK_KEY,
    lava_top,
    top_sent,
)
from tests.providers.lava_support import API_KEY, VECTORS

NOW = datetime(2026, 11, 5, 9, 0, tzinfo=UTC)
HEADERS, RAW = top_sent(TOP_PAID)
E = EventType


def basic(user: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


def parsed(body: dict[str, Any]) -> list[ProviderEvent]:
    return lava_top().parse_webhook({}, json.dumps(body).encode())


# --- the proof -------------------------------------------------------------------------------------------------------


def test_key_or_basic_proves_the_sender() -> None:
    lava_top().verify_webhook(HEADERS, RAW, NOW)
    lava_top(webhook_user="payflow").verify_webhook({"authorization": basic("payflow", WEBHOOK_KEY)}, RAW, NOW)


def test_both_keys_count_while_they_are_rotated() -> None:
    headers, raw = top_sent(TOP_PAID, OLD_WEBHOOK_KEY)

    lava_top(previous_secret_key=OLD_WEBHOOK_KEY).verify_webhook(headers, raw, NOW)
    with pytest.raises(SignatureError):
        lava_top().verify_webhook(headers, raw, NOW)


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        ({}, ""),
        ({"x-api-key": ""}, ""),
        ({"x-api-key": "another"}, ""),
        ({"x-api-key": API_KEY}, ""),
        ({"x-api-key": WEBHOOK_KEY[:-1]}, ""),
        ({"x-api-key": WEBHOOK_KEY.upper()}, ""),
        ({"x-api-key": f"{WEBHOOK_KEY}, another"}, ""),
        ({"x-api-key": "\udce9é"}, ""),
        ({"authorization": basic("", WEBHOOK_KEY)}, ""),
        ({"x-api-key": WEBHOOK_KEY}, "payflow"),
        ({"authorization": basic("another", WEBHOOK_KEY)}, "payflow"),
        ({"authorization": basic("payflow", "another")}, "payflow"),
        ({"authorization": f"Bearer {WEBHOOK_KEY}"}, "payflow"),
    ],
)
def test_anything_else_is_rejected(headers: dict[str, str], user: str) -> None:
    with pytest.raises(SignatureError):
        lava_top(webhook_user=user).verify_webhook(headers, RAW, NOW)


@pytest.mark.parametrize("empty", ["", None, " "])
def test_without_a_key_nothing_is_authentic(empty: str | None) -> None:
    for headers in ({"x-api-key": empty or ""}, {"authorization": basic("u", "")}):
        for user in ("", "u"):
            with pytest.raises(SignatureError):
                lava_top(secret_key=empty, webhook_user=user).verify_webhook(headers, RAW, NOW)


def test_what_is_too_large_is_rejected() -> None:
    with pytest.raises(SignatureError):
        lava_top().verify_webhook(HEADERS, b" " * 65537, NOW)


def test_proof_comes_before_parsing() -> None:
    with pytest.raises(SignatureError):
        lava_top().verify_webhook({}, b"{", NOW)
    lava_top().verify_webhook(HEADERS, b"{", NOW)
    for method in (lava_top().delivery_key, lava_top().parse_webhook):
        with pytest.raises(MalformedError):
            method({}, b"{")


@pytest.mark.parametrize("body", [TOP_PAID, TOP_CANCELLED, TOP_REFUND], ids=["paid", "cancelled", "refund"])
def test_noise_is_malformed_and_nothing_else(body: dict[str, Any]) -> None:
    rng, provider = random.Random(14), lava_top()
    _, sent = top_sent(body)
    for _ in range(500):
        raw = bytearray(sent)
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            provider.delivery_key({}, bytes(raw))
            provider.parse_webhook({}, bytes(raw))
        except MalformedError:
            pass


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "types"), TOP_CASES)
def test_each_kind_says_what_the_table_does(body: dict[str, Any], types: list[EventType]) -> None:
    assert [event.type for event in parsed(body)] == types


def test_first_payment_is_read_whole() -> None:
    paid, activated = parsed({**TOP_PAID, "clientUtm": {"utm_source": "payflow", "utm_content": "ord_1"}})

    assert [paid.event_id, activated.event_id] == [f"lavatop:payment.success:{FIRST}#{n}" for n in (0, 1)]
    assert (paid.amount, paid.currency) == (Decimal("990.5"), "RUB")
    assert paid.occurred_at == datetime(2026, 11, 5, 8, 44, 32, 421760, tzinfo=UTC)
    assert (paid.provider_payment_id, paid.provider_sub_id, paid.order_ref) == (FIRST, FIRST, "ord_1")
    assert (activated.provider_payment_id, activated.amount) == (None, None)


def test_renewal_is_of_its_first_contract() -> None:
    paid, renewed = parsed(TOP_CASES[4][0])

    assert (paid.provider_payment_id, paid.provider_sub_id, renewed.provider_sub_id) == (SECOND, FIRST, FIRST)


def test_one_time_purchase_has_no_subscription() -> None:
    assert parsed({**TOP_PAID, "status": "completed"})[0].provider_sub_id is None


def test_order_of_another_seller_on_the_account_is_not_ours() -> None:
    assert parsed({**TOP_PAID, "clientUtm": {"utm_source": "vk", "utm_content": "ord_1"}})[0].order_ref is None


@pytest.mark.parametrize("body", [TOP_REFUND, {**TOP_REFUND, "event_type": "chargeback.initiated"}])
def test_reversal_names_no_payment_and_nobody(body: dict[str, Any]) -> None:
    """It has the buyer's address and no contract: which payment it was, an operator finds out."""
    [event] = parsed(body)

    assert event.event_id == f"lavatop:{TOP_REFUND['event_id']}#0"
    assert (event.provider_payment_id, event.amount, event.currency) == ("rf-1", Decimal(990), "RUB")
    for ref in (event.parent_payment_id, event.provider_sub_id, event.order_ref, event.user_ref):
        assert ref is None
    assert lava_top().confirm_events([event]) == [event]  # there is nothing to ask by


@pytest.mark.parametrize("body", [body for body, _ in TOP_CASES])
def test_buyers_address_goes_no_further(body: dict[str, Any]) -> None:
    for event in parsed(body):
        assert BUYER not in json.dumps(event.raw, default=str)


def test_keys_are_those_of_the_facts() -> None:
    def key(body: dict[str, Any]) -> str:
        return lava_top().delivery_key({}, json.dumps(body).encode())

    keys = {key({**TOP_PAID, "eventType": kind}) for kind in ("payment.success", "payment.failed", "a", "b")}
    keys |= {key({**TOP_PAID, "contractId": SECOND}), key(TOP_CANCELLED), key(TOP_REFUND)}
    assert len(keys) == 7
    assert key({**TOP_PAID, "errorMessage": "other"}) == key(TOP_PAID)


@pytest.mark.parametrize(
    "changes",
    [
        {"contractId": None},
        {"amount": None},
        {"amount": -1},
        {"currency": "XXX"},
        {"timestamp": "2026-11-05T08:44:32"},
        {"timestamp": 5},
        {"eventType": ""},
    ],
)
def test_what_is_not_documented_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parsed({**TOP_PAID, **changes})


@pytest.mark.parametrize("changes", [{"data": None}, {"created_at": "x"}, {"event_id": ""}])
def test_broken_reversal_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parsed({**TOP_REFUND, **changes})


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_the_published_examples_say_what_the_table_does() -> None:
    examples = json.loads((VECTORS.parent / "lava_top_webhooks.json").read_text())

    assert [[event.type for event in parsed(body)] for body in examples] == [
        [E.PAYMENT_SUCCEEDED],
        [E.PAYMENT_FAILED],
        [E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_ACTIVATED],
        [E.PAYMENT_FAILED],
        [E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_RENEWED],
        [E.PAYMENT_FAILED, E.SUBSCRIPTION_GRACE],
        [E.SUBSCRIPTION_CANCELED],
    ]
    reversals = json.loads((VECTORS.parent / "lava_top_reversals_constructed.json").read_text())
    assert [event.type for body in reversals for event in parsed(body)] == [E.PAYMENT_REFUNDED, E.PAYMENT_DISPUTED]
