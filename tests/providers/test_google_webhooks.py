"""Google's pushes: their proof over real HTTP with certificates of the emulator, the table of hints, noise."""

from __future__ import annotations

import base64
import json
import logging
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from providers.base import MalformedError, RetryableVerifyError, SignatureError, WebhookAnswer
from providers.google.adapter import GoogleProvider
from tests.emulators.google import GoogleEmulator, Keys
from tests.emulators.google.keys import jwt, rsa_key
from tests.providers.google_support import (
    NOW,
    ORDER,
    RAW,
    TABLE,
    TOKEN,
    offline,
    provider,
    purchase_push,
    push,
    raw_data,
    types,
)


@pytest.fixture(scope="module")
def running() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as google:
        yield google


@pytest.fixture
def google(running: GoogleEmulator) -> GoogleEmulator:
    running.fault("certs", None)
    running.certs_max_age = 3600
    running.asked.clear()
    return running


def bearer(google: GoogleEmulator, **changes: Any) -> dict[str, str]:
    claims = {"audience": google.pushes.audience, "email": google.pushes.account, **changes}
    return {"authorization": f"Bearer {google.keys.oidc(**claims)}"}


def verify(adapter: GoogleProvider, headers: dict[str, str], raw: bytes = RAW) -> None:
    adapter.verify_webhook(headers, raw, datetime.now(UTC))


# --- the proof -------------------------------------------------------------------------------------------------------


def test_a_push_of_google_is_accepted(google: GoogleEmulator) -> None:
    adapter = provider(google)

    verify(adapter, google.pushes.headers())
    verify(adapter, {"authorization": google.pushes.headers()["authorization"].replace("Bearer", "bearer")})
    verify(adapter, bearer(google, iss="accounts.google.com"))


SECONDS = int(datetime.now(UTC).timestamp())


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"audience": "https://other.example.com/webhooks/google"}, id="another audience"),
        pytest.param({"aud": ...}, id="no audience"),
        pytest.param({"email": "other@my-project.iam.gserviceaccount.com"}, id="another account"),
        pytest.param({"email_verified": False}, id="e-mail not verified"),
        pytest.param({"email_verified": "true"}, id="e-mail verified in words"),
        pytest.param({"email_verified": ...}, id="nothing said of the e-mail"),
        pytest.param({"iss": "https://accounts.google.com.evil.example"}, id="another issuer"),
        pytest.param({"iss": ...}, id="no issuer"),
        pytest.param({"exp": SECONDS - 60, "iat": SECONDS - 3600}, id="expired"),
        pytest.param({"exp": ...}, id="never expires"),
        pytest.param({"exp": "tomorrow"}, id="expires in words"),
        pytest.param({"iat": SECONDS + 3600, "exp": SECONDS + 7200}, id="of tomorrow"),
    ],
)
def test_a_token_that_is_not_for_us_is_rejected(google: GoogleEmulator, claims: dict[str, Any]) -> None:
    email = claims.pop("email", google.pushes.account)
    audience = claims.pop("audience", google.pushes.audience)
    token = google.keys.oidc(audience=audience, email=email, **claims)

    with pytest.raises(SignatureError):
        verify(provider(google), {"authorization": f"Bearer {token}"})


def test_clocks_may_differ_by_ten_seconds(google: GoogleEmulator) -> None:
    now = int(datetime.now(UTC).timestamp())
    adapter = provider(google)

    verify(adapter, bearer(google, iat=now + 7, exp=now + 3600))
    verify(adapter, bearer(google, iat=now - 3600, exp=now - 4))
    with pytest.raises(SignatureError):
        verify(adapter, bearer(google, iat=now + 60, exp=now + 3600))


def test_the_moment_of_the_proof_counts(google: GoogleEmulator) -> None:
    adapter, headers = provider(google), google.pushes.headers()

    adapter.verify_webhook(headers, RAW, datetime.now(UTC) + timedelta(minutes=59))
    with pytest.raises(SignatureError):
        adapter.verify_webhook(headers, RAW, datetime.now(UTC) + timedelta(minutes=62))


def forged(kind: str, google: GoogleEmulator) -> str:
    good = google.keys.oidc(audience=google.pushes.audience, email=google.pushes.account)
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    match kind:
        case "another key":
            return jwt(rsa_key("a stranger"), claims, {"alg": "RS256", "kid": google.keys.kid})
        case "unknown kid":
            return google.keys.token(claims, kid="unknown")
        case "no kid, another key":
            return jwt(rsa_key("a stranger"), claims, {"alg": "RS256"})
        case "none":
            unsigned = jwt(rsa_key("a stranger"), claims, {"alg": "none", "kid": google.keys.kid})
            return unsigned.rpartition(".")[0] + "."
        case "HS256":
            return google.keys.token(claims, alg="HS256")
        case "flipped signature":
            return f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        case "flipped claims":
            return f"{head}.{body[:-3]}{'A' if body[-3] != 'A' else 'B'}{body[-2:]}.{signature}"
        case "truncated":
            return good[:-5]
        case "claims are a list":
            return jwt(google.keys._google, [1], {"alg": "RS256", "kid": google.keys.kid})
        case "two parts":
            return f"{head}.{body}"
    return kind


@pytest.mark.parametrize(
    "kind",
    [
        "another key",
        "unknown kid",
        "no kid, another key",
        "none",
        "HS256",
        "flipped signature",
        "flipped claims",
        "truncated",
        "claims are a list",
        "two parts",
        "",
        "   ",
        "a.b.c",
        "é.é.é",
        "\udce9",
        "x" * 10000,
        "....",
    ],
)
def test_a_forged_token_is_rejected(google: GoogleEmulator, kind: str) -> None:
    with pytest.raises(SignatureError):
        verify(provider(google), {"authorization": f"Bearer {forged(kind, google)}"})


def test_without_the_header_nothing_is_authentic(google: GoogleEmulator) -> None:
    token = google.pushes.headers()["authorization"].removeprefix("Bearer ")

    for headers in ({}, {"authorization": ""}, {"authorization": token}, {"authorization": f"Basic {token}"}):
        with pytest.raises(SignatureError):
            verify(provider(google), headers)
    assert google.asked["certs"] == 0


def test_another_subscription_is_rejected_and_what_is_no_json_is_malformed(google: GoogleEmulator) -> None:
    adapter = provider(google)
    other = RAW.replace(b"subscriptions/play-push", b"subscriptions/play-pusj")

    with pytest.raises(SignatureError):
        verify(adapter, google.pushes.headers(), other)
    with pytest.raises(SignatureError):
        verify(adapter, google.pushes.headers(), b"{}")
    with pytest.raises(SignatureError):
        verify(adapter, google.pushes.headers(), b" " * (64 * 1024 + 1))
    with pytest.raises(SignatureError):
        verify(adapter, {}, b"{")
    verify(adapter, google.pushes.headers(), b"{")
    for read in (adapter.parse_webhook, adapter.delivery_key):
        with pytest.raises(MalformedError):
            read({}, b"{")


@pytest.mark.parametrize("setting", ["audience", "push_account", "push_subscription"])
def test_without_a_setting_nothing_is_authentic(google: GoogleEmulator, setting: str) -> None:
    for empty in ("", None, "  "):
        with pytest.raises(SignatureError):
            verify(provider(google, **{setting: empty}), google.pushes.headers())


# --- certificates ----------------------------------------------------------------------------------------------------


def test_a_hundred_deliveries_on_many_threads_are_one_download(google: GoogleEmulator) -> None:
    adapter, headers = provider(google), google.pushes.headers()

    def ten() -> None:
        for _ in range(10):
            verify(adapter, headers)

    with ThreadPoolExecutor(10) as threads:
        for done in [threads.submit(ten) for _ in range(10)]:
            done.result(30)

    assert google.asked["certs"] == 1


@pytest.mark.parametrize(("max_age", "downloads"), [(0, 3), (None, 1), (60, 1)])
def test_certificates_hold_as_long_as_google_says(google: GoogleEmulator, max_age: int | None, downloads: int) -> None:
    google.certs_max_age = max_age
    adapter = provider(google)

    for _ in range(3):
        verify(adapter, google.pushes.headers())

    assert google.asked["certs"] == downloads


@pytest.mark.parametrize("fault", ["500", "timeout", "garbage", "403"])
def test_no_certificates_is_no_verdict(google: GoogleEmulator, fault: str) -> None:
    adapter = provider(google, answer_seconds=0.3)
    google.fault("certs", fault, times=4, seconds=1)

    with pytest.raises(RetryableVerifyError):
        verify(adapter, google.pushes.headers())
    google.fault("certs", None)
    verify(adapter, google.pushes.headers())


def test_new_keys_count_once_the_old_certificates_are_old(google: GoogleEmulator) -> None:
    google.certs_max_age = 0
    adapter, before = provider(google), google.keys
    verify(adapter, google.pushes.headers())
    try:
        google.keys = google.pushes.keys = Keys("emulator-key-2")
        verify(adapter, google.pushes.headers())
    finally:
        google.keys = google.pushes.keys = before


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TABLE)
def test_each_type_hints_at_the_events_of_the_table(kind: int) -> None:
    raw = purchase_push(kind, message_id="77")
    events = offline().parse_webhook({}, raw)

    assert types(events) == TABLE[kind]
    assert offline().delivery_key({}, raw) == "google:77"
    assert [event.event_id for event in events] == [f"google:77#{n}" for n in range(len(events))]
    assert {event.provider_sub_id for event in events} <= {TOKEN}
    assert {event.occurred_at for event in events} <= {NOW}
    assert all(event.amount is None for event in events)


@pytest.mark.parametrize("kind", [0, 14, 15, 16, 21, 23, 99, -1, 10**30])
def test_an_unknown_type_is_ignored_and_logged(kind: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="providers.google"):
        assert offline().parse_webhook({}, purchase_push(kind)) == []
    assert "ignored" in caplog.text
    assert TOKEN not in caplog.text


def test_voided_purchases_hint_at_refunds() -> None:
    body = {"purchaseToken": TOKEN, "orderId": f"{ORDER}..0", "productType": 1, "refundType": 1}
    [event] = offline().parse_webhook({}, push("voidedPurchaseNotification", body))

    assert (event.type, event.provider_payment_id, event.parent_payment_id, event.provider_sub_id) == (
        "payment.refunded",
        f"{ORDER}..0",
        f"{ORDER}..0",
        TOKEN,
    )
    assert offline().parse_webhook({}, push("voidedPurchaseNotification", {**body, "productType": 2})) == []


def test_a_refund_under_review_hints_at_a_dispute() -> None:
    body = {"pendingRefundToken": "prt", "orderId": ORDER, "refundReason": 7, "obfuscatedAccountId": "42"}
    [event] = offline().parse_webhook({}, push("pendingRefundReviewNotification", body))

    assert (event.type, event.provider_payment_id, event.parent_payment_id, event.user_ref, event.reason) == (
        "payment.disputed",
        f"{ORDER}:dispute",
        ORDER,
        "42",
        "refund_reason_7",
    )
    assert "prt" not in repr(event)


def test_other_notifications() -> None:
    [ping] = offline().parse_webhook({}, push("testNotification", {"version": "1.0"}))

    assert (ping.type, ping.is_test) == ("test.ping", True)
    assert offline().confirm_events([ping]) == [ping]
    assert offline().parse_webhook({}, push("oneTimeProductNotification", {"notificationType": 1, "sku": "x"})) == []
    assert offline().parse_webhook({}, push("somethingNewNotification", {})) == []
    assert offline().parse_webhook({}, purchase_push(4, package="com.example.other")) == []
    assert offline().webhook_response({}, b"", NOW) == WebhookAnswer()


def test_the_time_may_be_a_number_and_fields_may_be_added() -> None:
    raw = purchase_push(3, eventTimeMillis=1769904000123, new={"a": 1.5})
    [event] = offline().parse_webhook({}, raw)

    assert event.occurred_at == NOW + timedelta(milliseconds=123)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"message": 1}',
        b'{"message": {"messageId": "1"}}',
        b'{"message": {"messageId": "1", "data": "!!!"}}',
        b'{"message": {"data": "e30="}}',
        raw_data(b"{ version: string }"),
        raw_data(b"\xff"),
        raw_data(b"[" * 5000),
        raw_data(b"{}"),
        purchase_push("2"),
        purchase_push(None),
        purchase_push(True),
        purchase_push(2, token="x" * 2001),
        purchase_push(2, token="ä" * 10),
        purchase_push(2, token=""),
        purchase_push(2, eventTimeMillis=...),
        purchase_push(2, eventTimeMillis="soon"),
        purchase_push(2, eventTimeMillis=10**30),
        purchase_push(2, packageName=...),
        push("subscriptionNotification", {"notificationType": 2}),
        push("voidedPurchaseNotification", {"productType": 1, "purchaseToken": TOKEN}),
        push("pendingRefundReviewNotification", {"refundReason": 7}),
        push("subscriptionNotification", [1]),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_documented_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        offline().parse_webhook({}, raw)


def test_noise_is_malformed_at_worst() -> None:
    chance = random.Random(20260201)
    for _ in range(500):
        raw = bytearray(RAW)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(raw))
            match chance.randrange(3):
                case 0:
                    raw[at] = chance.randrange(256)
                case 1:
                    del raw[at]
                case _:
                    raw.insert(at, chance.randrange(256))
        for read in (offline().delivery_key, offline().parse_webhook):
            with suppress(MalformedError):
                read({}, bytes(raw))
