"""The shared vectors of Google: our reading of them, and that the emulator speaks as they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.base import MalformedError, SignatureError
from providers.google.records import read_purchase
from providers.google.state import STATUS, status_of
from tests.emulators.google import GoogleEmulator, envelope
from tests.emulators.google.records import order_shown
from tests.providers.google_support import NOW, RAW, TABLE, VECTORS, offline, provider, types

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the shared vectors are not here")


@pytest.fixture
def google() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as emulator:
        yield emulator


def test_vectors_hint_at_the_table() -> None:
    for vector in json.loads((VECTORS / "rtdn_subscription_push_and_state.json").read_text()):
        events = offline().parse_webhook({}, json.dumps(vector["push"]).encode())
        assert types(events) == TABLE[vector["notificationType"]]


def test_other_vectors() -> None:
    vectors = json.loads((VECTORS / "rtdn_other_push.json").read_text())
    said = {name: json.dumps(body).encode() for name, body in vectors.items()}

    with pytest.raises(MalformedError):
        offline().parse_webhook({}, said.pop("docs_sample_not_json"))
    assert {name: types(offline().parse_webhook({}, raw)) for name, raw in said.items()} == {
        "test": ["test.ping"],
        "voided": ["payment.refunded"],
        "one_time": [],
        "pending_refund_review": ["payment.disputed"],
    }


def test_the_minted_token_is_accepted(google: GoogleEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    minted = json.loads((VECTORS / "minted" / "oidc_push_token.json").read_text())
    monkeypatch.setattr(google.keys, "certificates", lambda: minted["certs"])  # the emulator's, not ours
    adapter = provider(google, audience=minted["audience"], push_account=minted["service_account"])

    headers = {"authorization": f"Bearer {minted['token']}"}
    adapter.verify_webhook(headers, RAW, datetime.now(UTC))
    with pytest.raises(SignatureError):
        provider(google, audience=minted["audience"]).verify_webhook(headers, RAW, datetime.now(UTC))


def test_states_of_the_vectors() -> None:
    for vector in json.loads((VECTORS / "rtdn_subscription_push_and_state.json").read_text()):
        body = vector["subscriptionsv2_get"]
        purchase = read_purchase("t", body, read_at=NOW)
        assert status_of(purchase) == STATUS[body["subscriptionState"]]
        assert (purchase.plan_ref, purchase.user_ref, purchase.is_test) == ("sub_variant_plan01:monthly", "42", True)


def undocumented(value: Any, schema: str, schemas: dict[str, Any], path: str = "") -> Iterator[str]:
    """The fields of an answer that the schema does not have."""
    known = schemas[schema].get("properties", {})
    for name, each in value.items():
        if name not in known:
            yield f"{path}.{name}"
            continue
        inner = known[name].get("$ref") or known[name].get("items", {}).get("$ref")
        for item in each if isinstance(each, list) else [each]:
            if inner and isinstance(item, dict):
                yield from undocumented(item, inner, schemas, f"{path}.{name}")


def test_the_emulator_answers_with_documented_fields(google: GoogleEmulator) -> None:
    schemas = json.loads((VECTORS / "androidpublisher_v3_subset.json").read_text())["schemas"]
    purchase = google.purchase(user="42", test=True)
    google.refund(purchase.first_order)
    google.cancel(purchase.token)

    assert list(undocumented(purchase.shown(), "SubscriptionPurchaseV2", schemas)) == []
    assert list(undocumented(order_shown(purchase.orders[0]), "Order", schemas)) == []
    [voided] = google.voided_shown(0, None)
    assert list(undocumented(voided, "VoidedPurchase", schemas)) == []


def test_the_emulator_pushes_as_pubsub_does() -> None:
    [vector, *_] = json.loads((VECTORS / "rtdn_subscription_push_and_state.json").read_text())
    pushed = json.loads(envelope({}, message_id="1", subscription="s", published=NOW))

    assert pushed.keys() == vector["push"].keys()
    assert pushed["message"].keys() == vector["push"]["message"].keys()
