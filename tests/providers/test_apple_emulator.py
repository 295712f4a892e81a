"""The emulated App Store by itself: its control surface, its deliveries, and an app's life at it through the adapter."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from providers.base import EventType, ProviderEvent, SubStatus
from tests.emulators.apple import AppleEmulator
from tests.emulators.apple.chain import jws, payload_of
from tests.providers.apple_support import (
    APP_ID,
    BUNDLE_ID,
    ISSUER_ID,
    KEY_ID,
    PRIVATE_KEY,
    ROOT,
    USER,
    connected,
    store,
)
from tests.providers.lava_support import Shop

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.stop()


@pytest.fixture
def apple(shop: Shop) -> Iterator[AppleEmulator]:
    with store(hook_url=shop.hook_url) as apple:
        yield apple


def control(apple: AppleEmulator, path: str, body: object = None, method: str = "POST") -> tuple[int, Any]:
    return ask(apple, method, f"/control/{path}", json.dumps(body or {}).encode())


def ask(apple: AppleEmulator, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(apple.origin.removeprefix("http://"), timeout=5)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        return response.status, json.loads(answer) if answer else None
    finally:
        connection.close()


def buy(apple: AppleEmulator, **wish: Any) -> dict[str, Any]:
    wish = {"productId": "premium.monthly", "price": 10990, "appAccountToken": USER, **wish}
    status, bought = control(apple, "purchases", wish)
    assert status == 200
    return bought


def received(apple: AppleEmulator, shop: Shop) -> list[ProviderEvent]:
    """What was delivered so far, proven and read."""
    events, provider = [], connected(apple)
    while not shop.received.empty():
        headers, raw = shop.take()
        provider.verify_webhook(headers, raw, NOW)
        events += provider.parse_webhook(headers, raw)
    return events


DEEDS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("renew", {}, ["subscription.renewed", "payment.succeeded"]),
    ("fail", {"graceDays": 16}, ["payment.failed", "subscription.grace"]),
    ("grace_end", {}, ["subscription.on_hold"]),
    ("recover", {}, ["subscription.renewed", "payment.succeeded", "subscription.resumed"]),
    ("upgrade", {"productId": "ultra", "price": 19990}, ["subscription.plan_changed", "payment.succeeded"]),
    ("downgrade", {"productId": "basic", "price": 5990}, ["subscription.plan_changed"]),
    ("withdraw", {}, ["subscription.plan_changed"]),
    ("extend", {"days": 5}, ["subscription.extended"]),
    ("refund", {"percentage": 25000}, ["payment.refunded", "subscription.revoked"]),
    ("reverse_refund", {}, ["payment.refund_reversed", "subscription.activated"]),
    ("cancel", {}, ["subscription.canceled"]),
    ("resume", {}, ["subscription.resumed"]),
    ("expire", {"subtype": "PRICE_INCREASE"}, ["subscription.expired"]),
    ("resubscribe", {}, ["subscription.activated", "payment.succeeded"]),
    ("revoke", {}, ["subscription.revoked"]),
]


def test_a_life_of_a_subscription_is_told_by_webhooks_that_prove_themselves(apple: AppleEmulator, shop: Shop) -> None:
    bought = buy(apple)
    original = bought["originalTransactionId"]
    assert [each.type for each in received(apple, shop)] == [
        "subscription.created",
        "subscription.activated",
        "payment.succeeded",
    ]
    for deed, wish, types in DEEDS:
        status, told = control(apple, f"subscriptions/{original}/{deed}", wish)
        assert (status, told["state"]) == (200, "delivered")
        events = received(apple, shop)
        assert [each.type.value for each in events] == types
        assert {each.provider_sub_id for each in events} == {original}
        assert {each.user_ref for each in events} == {USER}
    assert connected(apple).get_subscription(original).status == SubStatus.REVOKED


def test_a_downgrade_is_what_the_next_renewal_costs(apple: AppleEmulator, shop: Shop) -> None:
    original = buy(apple)["originalTransactionId"]
    control(apple, f"subscriptions/{original}/downgrade", {"productId": "basic", "price": 5990})
    control(apple, f"subscriptions/{original}/renew")
    paid = received(apple, shop)[-1]
    assert (paid.type, paid.provider_plan_ref, str(paid.amount)) == (EventType.PAYMENT_SUCCEEDED, "basic", "5.99")


def test_a_renewal_begins_where_the_period_ended_and_is_told_then(apple: AppleEmulator, shop: Shop) -> None:
    original = buy(apple, days=365)["originalTransactionId"]
    control(apple, f"subscriptions/{original}/renew")
    events = received(apple, shop)
    first, second = (each for each in events if each.type == EventType.PAYMENT_SUCCEEDED)
    assert second.period_start == first.period_end
    assert second.occurred_at >= second.period_start
    assert second.provider_payment_id != first.provider_payment_id == original


def test_what_was_not_delivered_is_found_in_the_list_and_in_the_records(apple: AppleEmulator, shop: Shop) -> None:
    original = buy(apple)["originalTransactionId"]
    received(apple, shop)
    control(apple, "deliveries", {"order": "drop"})
    control(apple, f"subscriptions/{original}/renew")
    control(apple, f"subscriptions/{original}/cancel")
    assert shop.received.empty()
    provider = connected(apple)
    until = datetime.fromtimestamp(apple.now() / 1000 + 1, UTC)
    types = [each.type.value for each in provider.missed_events(since=until.replace(year=until.year - 1), until=until)]
    assert types[3:] == ["subscription.renewed", "payment.succeeded", "subscription.canceled"]
    assert [each.type.value for each in provider.fetch_events(original, since=NOW)][-3:] == [
        "subscription.renewed",
        "payment.succeeded",
        "subscription.canceled",
    ]


@pytest.mark.parametrize("order", ["release", "reverse"])
def test_held_notifications_are_released_in_any_order(apple: AppleEmulator, shop: Shop, order: str) -> None:
    control(apple, "deliveries", {"order": "hold"})
    original = buy(apple)["originalTransactionId"]
    control(apple, f"subscriptions/{original}/cancel")
    assert shop.received.empty()
    control(apple, "deliveries", {"order": order})
    kinds = [payload_of(body["signedPayload"])["notificationType"] for body in shop.bodies()]
    wanted = ["SUBSCRIBED", "DID_CHANGE_RENEWAL_STATUS"]
    assert kinds == (wanted if order == "release" else wanted[::-1])


def test_a_repeat_is_the_very_same_bytes(apple: AppleEmulator, shop: Shop) -> None:
    status, told = control(apple, "notify", {"type": "TEST"})
    assert (status, told["attempts"]) == (200, [200])
    control(apple, f"deliveries/{told['uuid']}/repeat")
    first, second = shop.take(), shop.take()
    assert first[1] == second[1]
    provider = connected(apple)
    assert provider.delivery_key(*first) == provider.delivery_key(*second) == f"apple:{told['uuid']}"


@pytest.mark.parametrize(("status", "tries"), [(206, 1), (302, 3), (400, 3), (503, 3)])
def test_only_200_to_206_is_success(shop: Shop, status: int, tries: int) -> None:
    with store(hook_url=shop.hook_url, retry_pauses=(0.01, 0.01, 0.01)) as apple:
        shop.answers = [status, status, 200]
        apple.notify("TEST")
        bodies = [shop.take()[1] for _ in range(tries)]
        assert len(set(bodies)) == 1
        assert shop.received.empty()


def test_the_sandbox_tries_once(shop: Shop) -> None:
    with store(hook_url=shop.hook_url, environment="Sandbox", retry_pauses=None) as apple:
        shop.answers = [503]
        assert apple.notify("TEST").state == "gave_up"
        assert all(each.is_test for each in received(apple, shop))


def test_a_notification_never_leaves_loopback() -> None:
    with store(hook_url="http://192.0.2.1/webhooks/apple") as apple:
        assert apple.notify("TEST").attempts == ["the address is not on loopback"]


def test_a_test_is_asked_for_through_the_api_even_where_the_answer_is_lost(apple: AppleEmulator, shop: Shop) -> None:
    admitted = {"Authorization": f"Bearer {_token()}"}
    apple.fail("test", "timeout_after", seconds=0)
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(apple, "POST", "/inApps/v1/notifications/test", **admitted)
    status, answer = ask(apple, "POST", "/inApps/v1/notifications/test", **admitted)
    assert (status, list(answer)) == (200, ["testNotificationToken"])
    assert [each.type for each in received(apple, shop)] == [EventType.TEST_PING] * 2


def _token(**changes: Any) -> str:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: Any = load_pem_private_key(PRIVATE_KEY.encode(), password=None)
    now = int(datetime.now(UTC).timestamp())
    header = {"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}
    claims = {"iss": ISSUER_ID, "iat": now, "exp": now + 300, "aud": "appstoreconnect-v1", "bid": BUNDLE_ID}
    for part in (header, claims):
        part.update({name: value for name, value in changes.items() if name in part})
    return jws(header, claims, key)


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "none"},
        {"kid": "x"},
        {"typ": "x"},
        {"iss": "x"},
        {"aud": "x"},
        {"bid": "x"},
        {"exp": 1},
        {"exp": 9_999_999_999},
        {"iat": 9_999_999_999},
    ],
    ids=str,
)
def test_the_api_wants_the_apps_token(apple: AppleEmulator, changes: dict[str, Any]) -> None:
    path = "/inApps/v1/subscriptions/1"
    assert ask(apple, "GET", path, Authorization=f"Bearer {_token()}")[0] == 404
    assert ask(apple, "GET", path, Authorization=f"Bearer {_token(**changes)}") == (401, None)
    assert ask(apple, "GET", path) == (401, None)


def test_an_unknown_transaction_is_apples_404(apple: AppleEmulator) -> None:
    answer = ask(apple, "GET", "/inApps/v2/history/1", Authorization=f"Bearer {_token()}")
    assert answer == (404, {"errorCode": 4040010, "errorMessage": "Transaction id not found."})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nothing", {}, 404),
        ("purchases", {}, 400),
        ("subscriptions/1/renew", {}, 404),
        ("faults", {"call": "statuses", "fault": "flood"}, 400),
        ("deliveries", {"order": "shuffle"}, 400),
        ("deliveries/x/repeat", {}, 404),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(apple: AppleEmulator, path: str, body: object, status: int) -> None:
    assert control(apple, path, body)[0] == status


def test_what_cannot_happen_is_refused(apple: AppleEmulator) -> None:
    original = buy(apple)["originalTransactionId"]
    for deed in ("recover", "resubscribe", "fly"):
        assert control(apple, f"subscriptions/{original}/{deed}")[0] in (404, 409)
    control(apple, f"subscriptions/{original}/refund")
    assert control(apple, f"subscriptions/{original}/refund")[0] == 409


def test_everything_is_listed_but_the_keys(apple: AppleEmulator) -> None:
    original = buy(apple)["originalTransactionId"]
    control(apple, "clock", {"ahead_seconds": 3600})
    status, state = control(apple, "state", method="GET")
    assert (status, state["subscriptions"][0]["original_id"]) == (200, original)
    assert [each["kind"] for each in state["deliveries"]] == ["SUBSCRIBED"]
    assert "eyJ" not in json.dumps(state)
    assert "PRIVATE" not in json.dumps(state)


def test_it_shares_no_code_with_what_it_tests() -> None:
    files = sorted((Path(ROOT) / "tests/emulators/apple").glob("*.py"))
    assert len(files) > 5
    for path in files:
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) (providers|payflow|appstoreserverlibrary)", text, re.MULTILINE), path


def test_the_program_says_where_it_listens_and_stops_when_told() -> None:
    given = {
        "APPLE_BUNDLE_ID": BUNDLE_ID,
        "APPLE_APP_ID": str(APP_ID),
        "APPLE_ISSUER_ID": ISSUER_ID,
        "APPLE_KEY_ID": KEY_ID,
        "APPLE_PRIVATE_KEY": PRIVATE_KEY.replace("\n", "\\n"),
    }
    command = [sys.executable, "-m", "tests.emulators.apple"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **given}, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith("apple emulator on http://127.0.0.1:")
        assert program.stdout.readline().startswith("APPLE_ROOT_CERTIFICATES=MII")
        program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0
    refused = subprocess.run(command, cwd=ROOT, env={**os.environ, "APPLE_KEY_ID": ""}, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "is not set" in refused.stderr


def test_decades_ahead_its_signatures_are_still_good(apple: AppleEmulator, shop: Shop) -> None:
    ahead = datetime(2045, 1, 1, tzinfo=UTC) - datetime.now(UTC)
    control(apple, "clock", {"ahead_seconds": ahead.total_seconds()})
    original = buy(apple)["originalTransactionId"]
    assert [each.occurred_at.year for each in received(apple, shop)] == [2045] * 3
    assert connected(apple).get_subscription(original).status == SubStatus.ACTIVE
