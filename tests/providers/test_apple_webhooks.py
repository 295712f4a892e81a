"""The proof of Apple's notifications: chain, purposes, algorithm, app, environment, revocation, and what is inside."""

from __future__ import annotations

import base64
import json
import logging
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.apple.adapter import AppleProvider
from providers.base import MalformedError, RetryableVerifyError, SignatureError
from tests.emulators.apple import Chain
from tests.emulators.apple.chain import jws, payload_of
from tests.emulators.apple.ocsp import Responder
from tests.providers.apple_support import (
    CHAIN,
    FOREIGN,
    FORGED,
    GOOD,
    PRIVATE_KEY,
    USER,
    VECTORS,
    body,
    config,
    provider,
    subscription_news,
    token,
)

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def verify(raw: bytes, **changes: Any) -> None:
    provider(**changes).verify_webhook({"content-type": "application/json"}, raw, NOW)


def test_an_authentic_delivery_is_accepted() -> None:
    verify(GOOD)


def test_one_of_several_roots_is_enough() -> None:
    verify(GOOD, root_certificates=f"{FOREIGN.root_base64}, {CHAIN.root_base64}")


@pytest.mark.parametrize("raw", FORGED.values(), ids=FORGED)
def test_what_is_not_authentic_is_rejected(raw: bytes) -> None:
    with pytest.raises(SignatureError):
        verify(raw)


def test_a_notification_of_no_app_is_rejected() -> None:
    raw = body(CHAIN.sign({"notificationType": "DID_RENEW", "notificationUUID": "u", "signedDate": 1767999600000}))
    with pytest.raises(SignatureError):
        verify(raw)


@pytest.mark.parametrize("environment", ["Xcode", "LocalTesting", "xcode", "", None, 7])
def test_an_environment_whose_signatures_are_not_checked_is_never_believed(environment: Any) -> None:
    """Apple's library takes anything there: neither the delivery's word nor the setting's lets it."""
    payload = payload_of(token())
    payload["data"]["environment"] = environment
    forged = body(jws({"alg": "ES256"}, payload, Chain()._key))
    for setting in ("Production", "Sandbox", "Xcode", "LocalTesting"):
        with pytest.raises(SignatureError):
            verify(forged, environment=setting)


def test_a_sandbox_service_believes_no_production_delivery() -> None:
    with pytest.raises(SignatureError):
        verify(GOOD, environment="Sandbox")


def test_the_environment_that_is_claimed_only_chooses_the_verifier() -> None:
    """A sandbox signature says so inside: the claim alone makes no other of it."""
    raw = subscription_news("DID_RENEW", data={"environment": "Sandbox"})
    with pytest.raises(SignatureError, match="INVALID_ENVIRONMENT"):
        verify(raw)


@pytest.mark.parametrize("changes", [{"root_certificates": ""}, {"app_id": ""}, {"bundle_id": ""}], ids=str)
def test_without_its_settings_nothing_is_authentic(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureError):
        verify(GOOD, **changes)


def test_every_part_of_the_token_counts() -> None:
    for part in range(3):
        pieces = token().split(".")
        for at in random.Random(part).sample(range(len(pieces[part]) - 2), 20):
            letter = "B" if pieces[part][at] == "A" else "A"
            flipped = pieces[part][:at] + letter + pieces[part][at + 1 :]
            with pytest.raises(SignatureError):
                verify(body(".".join([*pieces[:part], flipped, *pieces[part + 1 :]])))


def test_proof_comes_before_parsing() -> None:
    """Genuine but not what is documented is proven, then malformed; the same unproven is a forgery."""
    genuine = subscription_news("DID_RENEW", notificationUUID=...)
    verify(genuine)
    with pytest.raises(MalformedError):
        provider().delivery_key({}, genuine)
    with pytest.raises(SignatureError):
        verify(subscription_news("DID_RENEW", notificationUUID=..., chain=FOREIGN))


def test_noise_never_passes_and_never_breaks_the_parser() -> None:
    dice = random.Random(20261122)
    apple, original = provider(), provider().parse_webhook({}, GOOD)
    for _ in range(500):
        raw = bytearray(GOOD)
        for _ in range(dice.randint(1, 4)):
            match dice.randrange(3):
                case 0:
                    raw[dice.randrange(len(raw))] = dice.randrange(256)
                case 1:
                    del raw[dice.randrange(len(raw)) :][: dice.randint(1, 40)]
                case _:
                    raw.insert(dice.randrange(len(raw)), dice.randrange(256))
        mutated = bytes(raw)
        try:
            apple.verify_webhook({}, mutated, NOW)
        except SignatureError:
            pass
        else:
            assert apple.parse_webhook({}, mutated) == original
        try:
            apple.parse_webhook({}, mutated)
            apple.delivery_key({}, mutated)
        except MalformedError:
            pass


def test_the_answer_is_an_empty_200() -> None:
    answer = provider().webhook_response({}, GOOD, NOW)
    assert (answer.status, answer.body) == (200, b"")


# --- revocation --------------------------------------------------------------------------------------------------------


@pytest.fixture
def responder() -> Iterator[Responder]:
    responder = Responder()
    yield responder
    responder.stop()


def online(responder: Responder) -> AppleProvider:
    """A new one: the library keeps a good answer for a quarter of an hour."""
    return AppleProvider("apple", config(online_checks=True, root_certificates=responder.chain.root_base64))


def test_certificates_that_are_good_are_asked_about_once(responder: Responder) -> None:
    apple, raw = online(responder), subscription_news("DID_RENEW", chain=responder.chain)
    apple.verify_webhook({}, raw, NOW)
    assert responder.asked == 2  # intermediate and leaf
    apple.verify_webhook({}, raw, NOW)
    assert responder.asked == 2


@pytest.mark.parametrize("word", ["revoked", "busy", "error"])
def test_certificates_that_cannot_be_vouched_for_are_tried_again(responder: Responder, word: str) -> None:
    responder.word = word
    raw = subscription_news("DID_RENEW", chain=responder.chain)
    apple = online(responder)
    with pytest.raises(RetryableVerifyError):
        apple.verify_webhook({}, raw, NOW)
    responder.word = "good"
    apple.verify_webhook({}, raw, NOW)


def test_a_certificate_server_that_is_down_is_no_forgery() -> None:
    responder = Responder()
    responder.stop()
    with pytest.raises(RetryableVerifyError):
        online(responder).verify_webhook({}, subscription_news("DID_RENEW", chain=responder.chain), NOW)


def test_a_forgery_asks_nobody(responder: Responder) -> None:
    genuine = token(subscription_news("DID_RENEW", chain=responder.chain))
    with pytest.raises(SignatureError):
        online(responder).verify_webhook({}, body(genuine[:-8] + "AAAAAAAA"), NOW)
    assert responder.asked == 0


# --- Apple's own samples, where they are there -------------------------------------------------------------------------

needs_vectors = pytest.mark.skipif(not VECTORS.exists(), reason="the vectors are not beside this checkout")
MINTED = sorted((VECTORS / "minted").glob("[A-Z]*.json"))


def vector_provider(root: str) -> AppleProvider:
    der = base64.b64encode((VECTORS / root).read_bytes()).decode()
    changes = {"environment": "Sandbox", "bundle_id": "com.example", "app_id": "1234", "root_certificates": der}
    return AppleProvider("apple", config(**changes))


@needs_vectors
@pytest.mark.parametrize("path", MINTED, ids=lambda path: path.stem)
def test_minted_vectors_verify_and_say_what_their_manifest_says(path: Any) -> None:
    rows = {row["file"]: row for row in json.loads((VECTORS / "minted/manifest.json").read_text())}
    row, raw, apple = rows[path.name], path.read_bytes(), vector_provider("minted/root.der")
    apple.verify_webhook({}, raw, NOW)
    events = apple.parse_webhook({}, raw)
    if row["notificationType"] == "TEST":
        assert [each.type for each in events] == ["test.ping"]
        return
    assert apple.delivery_key({}, raw) == f"apple:{row['notificationUUID']}"
    assert all(each.is_test for each in events)
    assert {each.provider_sub_id for each in events} <= {row["originalTransactionId"]}
    paid = [each.provider_payment_id for each in events if each.type == "payment.succeeded"]
    assert paid in ([], [row["transactionId"]])
    with pytest.raises(SignatureError):
        verify(raw)


@needs_vectors
def test_every_minted_vector_was_read() -> None:
    assert len(MINTED) == 15


@needs_vectors
@pytest.mark.parametrize(
    "name",
    ["testNotification", "wrongBundleId", "missingX5CHeaderClaim", "legacyTransaction", "xcode-signed-transaction"],
)
def test_apples_unusable_samples_are_rejected(name: str) -> None:
    """Their test chain lacks what Apple's real one has, so that not even the good one passes the strict checks."""
    folder = "xcode" if name.startswith("xcode") else "mock_signed_data"
    apple = vector_provider("certs/testCA.der")
    with pytest.raises(SignatureError):
        apple.verify_webhook({}, body((VECTORS / folder / name).read_text().strip()), NOW)


@needs_vectors
def test_apples_real_root_is_known_and_its_chain_is_foreign_to_ours() -> None:
    der = base64.b64encode((VECTORS / "certs/AppleRootCA-G3.der").read_bytes()).decode()
    faults = provider(root_certificates=der, base_url="https://a.example", sandbox_base_url="https://a.example")
    assert list(faults.config_faults(debug=False)) == []
    with pytest.raises(SignatureError):
        verify(GOOD, root_certificates=der)


# --- nothing leaks -----------------------------------------------------------------------------------------------------


def test_errors_and_logs_hold_no_secret_and_no_purchase(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    for raw in [*FORGED.values(), GOOD]:
        try:
            verify(raw)
            told.append(repr(provider().parse_webhook({}, raw)))
        except SignatureError as error:
            told += [str(error), repr(error), repr(error.__cause__)]
    told += [repr(provider()), repr(provider()._settings), caplog.text]
    text = "\n".join(told)
    for secret in (PRIVATE_KEY, PRIVATE_KEY.splitlines()[1], token(), CHAIN.root_base64, "eyJ"):
        assert secret not in text
    assert USER not in caplog.text
