"""The proof of Stripe's deliveries, recorded ones, and noise (providers.md 5.2)."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, MalformedError, SignatureError, WebhookAnswer
from tests.providers.stripe_cases import CASES
from tests.providers.stripe_support import (
    EMAIL,
    NOW,
    OLD_WEBHOOK_SECRET,
    SECONDS,
    VECTORS,
    WEBHOOK_SECRET,
    delivery,
    invoice,
    parsed,
    provider,
    sign,
    signed,
)

RAW = delivery("invoice.paid", invoice())


@pytest.mark.parametrize(
    "header",
    [
        f"t={SECONDS},v1={sign(RAW)}",
        f"t={SECONDS},v1=bad,v1={sign(RAW)}",
        f"t={SECONDS},v1={sign(RAW)},v0={'0' * 64}",
        f"t={SECONDS}, v1={sign(RAW)}",
        f"v1={sign(RAW)},t={SECONDS}",
        f"t={SECONDS - 300},v1={sign(RAW, at=SECONDS - 300)}",
        f"t={SECONDS + 300},v1={sign(RAW, at=SECONDS + 300)}",
    ],
)
def test_genuine_deliveries_pass(header: str) -> None:
    provider().verify_webhook({"stripe-signature": header}, RAW, NOW)


@pytest.mark.parametrize(
    ("header", "raw"),
    [
        pytest.param(None, RAW, id="missing"),
        pytest.param("", RAW, id="empty"),
        pytest.param("i'm not even a real signature header", RAW, id="not a header"),
        pytest.param(f"t={SECONDS}", RAW, id="no signature"),
        pytest.param(f"v1={sign(RAW)}", RAW, id="no time"),
        pytest.param(f"t={SECONDS},t={SECONDS},v1={sign(RAW)}", RAW, id="two times"),
        pytest.param(f"t=٣,v1={sign(RAW)}", RAW, id="digits of another alphabet"),
        pytest.param(f"t=0{SECONDS},v1={sign(RAW)}", RAW, id="another spelling of the time"),
        pytest.param(f"t={SECONDS},v0={sign(RAW)}", RAW, id="only v0"),
        pytest.param(f"t={SECONDS},v1={sign(RAW, 'whsec_another')}", RAW, id="another secret"),
        pytest.param(f"t={SECONDS},v1={sign(RAW, '')}", RAW, id="no secret"),
        pytest.param(f"t={SECONDS},v1={sign(RAW)[:-1]}", RAW, id="cut"),
        pytest.param(f"t={SECONDS},v1={'é' * 64}", RAW, id="not ASCII"),
        pytest.param(f"t={SECONDS},v1=\udce9", RAW, id="not even text"),
        pytest.param(f"t={SECONDS + 1},v1={sign(RAW)}", RAW, id="another time"),
        pytest.param(f"t={SECONDS - 301},v1={sign(RAW, at=SECONDS - 301)}", RAW, id="stale"),
        pytest.param(f"t={SECONDS + 301},v1={sign(RAW, at=SECONDS + 301)}", RAW, id="from the future"),
        pytest.param(f"t={SECONDS},v1={sign(RAW)}", RAW + b"\n", id="one byte more"),
        pytest.param(f"t={SECONDS},v1={sign(RAW)}", RAW.replace(b"699", b"099"), id="another amount"),
        pytest.param(f"t={SECONDS},v1={sign(b' ' * 262145)}", b" " * 262145, id="too large, well signed"),
        pytest.param(f"t={SECONDS}," + ",".join(["v1=x"] * 1000) + f",v1={sign(RAW)}", RAW, id="a thousand signatures"),
    ],
)
def test_bad_signature_is_rejected(header: str | None, raw: bytes) -> None:
    with pytest.raises(SignatureError):
        provider().verify_webhook({} if header is None else {"stripe-signature": header}, raw, NOW)


def test_the_answer_is_an_empty_200_and_the_key_is_the_events() -> None:
    assert provider().webhook_response(signed(RAW), RAW, NOW) == WebhookAnswer(200, "text/plain", b"")
    assert provider().delivery_key({}, RAW) == "stripe:evt_1"


# --- vectors and noise -------------------------------------------------------------------------------------------------


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_vectors_of_the_signature() -> None:
    for case in vectors("signature.json"):
        stripe = provider(webhook_secret=case["secret"])
        headers, raw = {"stripe-signature": case["header"]}, case["payload"].encode()
        at = datetime.fromtimestamp(case.get("timestamp", 12345), UTC)
        if case["valid_without_tolerance"]:
            stripe.verify_webhook(headers, raw, at)
        else:
            with pytest.raises(SignatureError):
                stripe.verify_webhook(headers, raw, at)


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_recorded_events_of_the_shape_of_old() -> None:
    raw = {event["type"]: json.dumps(event).encode() for event in vectors("localstripe_recorded_events.json")}

    [paid] = parsed(raw["invoice.payment_succeeded"])
    created, activated = parsed(raw["customer.subscription.created"])

    assert (paid.type, paid.amount, paid.currency) == (EventType.PAYMENT_SUCCEEDED, Decimal("25.00"), "EUR")
    assert (paid.provider_payment_id, paid.provider_sub_id) == ("in_Fj01Scs10iIy7B", "sub_nFKggQ2yCPPERw")
    assert paid.provider_plan_ref == "pro-monthly"
    assert (created.type, activated.type) == (EventType.SUBSCRIPTION_CREATED, EventType.SUBSCRIPTION_ACTIVATED)
    assert activated.period_end == paid.period_end == datetime.fromtimestamp(1797933910, UTC)
    for silent in ("customer.updated", "invoice.created", "payment_intent.succeeded"):
        assert parsed(raw[silent]) == []
    assert parsed(raw["payment_intent.succeeded"], "payments") == []  # an invoice's


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_recorded_delivery_is_authentic() -> None:
    case = vectors("localstripe_recorded_delivery.json")
    at = datetime.fromtimestamp(1795341907, UTC)

    provider(webhook_secret=case["secret"]).verify_webhook({"stripe-signature": case["sig"]}, case["body"].encode(), at)
    assert parsed(case["body"].encode()) == []


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_current_shapes_of_stripes_own_fixtures_are_read() -> None:
    found = vectors("fixtures3_subset.json")
    fixtures: Mapping[str, Any] = found.get("resources", found)
    deleted = {**fixtures["subscription"], "metadata": {}}

    [expired] = parsed(delivery("customer.subscription.deleted", deleted))
    [refunded] = parsed(delivery("refund.created", fixtures["refund"]))
    [disputed] = parsed(delivery("charge.dispute.created", fixtures["dispute"]))
    [failed] = parsed(
        delivery("invoice.payment_failed", {**fixtures["invoice"], "billing_reason": "subscription_create"})
    )

    assert (expired.provider_sub_id, expired.provider_plan_ref) == (
        "sub_1Pgc6rB7WZ01zgkWNy0Cn5nw",
        "price_1PgafmB7WZ01zgkW6dKueIc5",
    )
    assert refunded.amount == Decimal("1.00")
    assert disputed.amount == Decimal("10.00")
    assert (failed.provider_sub_id, failed.amount) == ("subscription", Decimal("10.00"))


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


WRONG = [
    None,
    True,
    -1,
    10**40,
    1.5,
    "",
    "x" * 300,
    "\x00",
    [],
    [[]],
    {},
    {"id": []},
    {"data": 5},
    {"data": [None, {}]},
]


def replaced(value: Any, dice: random.Random) -> Any:
    """The same document with some of its values of another kind: JSON still, and nothing that Stripe documents."""
    if dice.random() < 0.03:
        return dice.choice(WRONG)
    if isinstance(value, dict):
        return {name: replaced(item, dice) for name, item in value.items()}
    return [replaced(item, dice) for item in value] if isinstance(value, list) else value


def test_noise_never_passes_and_never_breaks_the_parser() -> None:
    dice, refused = random.Random(25), 0
    genuine = [(mode, delivery(type_, value, previous)) for mode, type_, value, previous, _ in CASES]

    for n in range(3000):
        mode, good = dice.choice(genuine)
        raw = mutated(good, dice) if n % 2 else json.dumps(replaced(json.loads(good), dice)).encode()
        if raw == good:
            continue
        with pytest.raises(SignatureError):
            provider(mode=mode).verify_webhook(signed(good), raw, NOW)
        try:
            provider(mode=mode).delivery_key({}, raw)
            for event in provider(mode=mode).parse_webhook({}, raw):
                assert event.amount is None or (event.amount.is_finite() and event.amount >= 0)
                assert event.occurred_at.tzinfo is UTC
        except MalformedError:
            refused += 1

    assert refused > 500


def test_errors_and_logs_hold_no_secret_and_no_person(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stripe, texts = provider(previous_webhook_secret=OLD_WEBHOOK_SECRET, mode="billing"), []
    bad = delivery("invoice.paid", invoice(amount_paid=EMAIL))
    for headers, raw in (({}, RAW), ({"stripe-signature": "t=1,v1=0"}, RAW), (signed(b"{"), b"{"), (signed(bad), bad)):
        with pytest.raises((SignatureError, MalformedError)) as raised:
            stripe.verify_webhook(headers, raw, NOW)
            stripe.parse_webhook(headers, raw)
        texts += [str(raised.value), repr(raised.value)]
    texts += [repr(event) for event in stripe.parse_webhook({}, RAW)]

    for text in [*texts, caplog.text]:
        for secret in (WEBHOOK_SECRET, OLD_WEBHOOK_SECRET, sign(RAW), EMAIL):
            assert secret not in text
