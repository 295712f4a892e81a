"""The App Store Server API through the adapter, over real HTTP: purchases attached, errors."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.apple.adapter import AppleProvider
from providers.base import (
    AuthError,
    ProviderError,
    RateLimited,
    RequestRefused,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from tests.emulators.apple import AppleEmulator, Chain
from tests.providers.apple_support import (
    PRIVATE_KEY,
    USER,
    config,
    connected,
    store,
    transaction,
)

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def apple() -> Iterator[AppleEmulator]:
    with store() as apple:
        yield apple


def buy(apple: AppleEmulator, **changes: Any) -> str:
    fields: dict[str, Any] = {"app_account_token": USER, **changes}
    return apple.purchase("premium.monthly", 10990, **fields).original_id


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)


# --- the wire ----------------------------------------------------------------------------------------------------------


def test_requests_are_those_that_apple_documents(apple: AppleEmulator) -> None:
    original, since = buy(apple), at(apple.now() - 86_400_000)
    provider = connected(apple)
    as_of = provider.fetch_events(original, since=since)[-1].occurred_at
    until = apple.now()
    list(provider.missed_events(since=since, until=at(until)))
    begin, end = (int(moment.timestamp() * 1000) for moment in (since, as_of))
    sent = [(method, path, body) for method, path, _, body in apple.requests]
    assert sent == [
        ("GET", f"/inApps/v1/subscriptions/{original}", b""),
        ("GET", f"/inApps/v2/history/{original}?productType=AUTO_RENEWABLE&sort=ASCENDING", b""),
        (
            "POST",
            "/inApps/v1/notifications/history",
            f'{{"startDate":{begin},"endDate":{end},"transactionId":"{original}","onlyFailures":false}}'.encode(),
        ),
        (
            "POST",
            "/inApps/v1/notifications/history",
            f'{{"startDate":{begin},"endDate":{until},"onlyFailures":false}}'.encode(),
        ),
    ]
    assert all(headers["accept"] == "application/json" for *_, headers, _ in apple.requests)
    assert apple.requests[2][2]["content-type"] == "application/json"


def test_the_token_is_the_apps(apple: AppleEmulator) -> None:
    original = buy(apple)
    for changes in ({"key_id": "OTHER"}, {"issuer_id": "other"}, {"bundle_id": "com.other"}):
        with pytest.raises(AuthError):
            connected(apple, **changes).get_subscription(original)
    assert connected(apple).get_subscription(original).status == SubStatus.ACTIVE


@pytest.mark.parametrize("key", ["", "no key", PRIVATE_KEY.replace("PRIVATE", "PUBLIC")])
def test_a_key_that_is_none_asks_nobody(apple: AppleEmulator, key: str) -> None:
    with pytest.raises(AuthError, match="APPLE_PRIVATE_KEY"):
        connected(apple, private_key=key).get_subscription("1")
    assert apple.requests == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("500", Unavailable),
        ("timeout", Unavailable),
        ("timeout_after", Unavailable),
        ("404", Unavailable),
        ("429", RateLimited),
        ("401", AuthError),
        ("unsigned", Unavailable),
        ("garbage", Unavailable),
    ],
)
@pytest.mark.parametrize("call", ["statuses", "history"])
def test_what_goes_wrong_is_an_error_of_the_contract(
    apple: AppleEmulator, call: str, fault: str, error: type[ProviderError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    original = buy(apple)
    provider = connected(apple, answer_seconds=0.3)
    apple.fail(call, fault, times=9, seconds=5)
    with pytest.raises(error) as caught:
        provider.fetch_events(original, since=LONG_AGO)
    assert type(caught.value) is error
    apple.fail(call, None)
    assert provider.fetch_events(original, since=LONG_AGO)
    token = apple.requests[-1][2]["authorization"].removeprefix("Bearer ")
    for secret in (token, PRIVATE_KEY.splitlines()[1], "eyJ", USER, "An unknown error"):
        assert secret not in caplog.text + str(caught.value)


def test_a_read_is_tried_again(apple: AppleEmulator) -> None:
    original = buy(apple)
    apple.fail("statuses", "timeout", times=1, seconds=5)
    assert connected(apple, answer_seconds=0.3).get_subscription(original).status == SubStatus.ACTIVE
    assert len(apple.requests) == 2


def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        origin = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable):
        AppleProvider("apple", config(base_url=origin)).get_subscription("2000000700000000")


@pytest.mark.parametrize("ref", ["2000000700000000", "../../v1/notifications/test", "a b", "x?y=1"])
def test_a_subscription_that_apple_does_not_have_is_unknown(apple: AppleEmulator, ref: str) -> None:
    with pytest.raises(UnknownReference):
        connected(apple).get_subscription(ref)
    assert apple.deliveries.sent == []


# --- attaching ---------------------------------------------------------------------------------------------------------


def signed(apple: AppleEmulator, original: str) -> str:
    return apple.signed_transaction(apple.subscription(original).last)


def test_a_purchase_that_the_app_sends_is_attached(apple: AppleEmulator) -> None:
    original = buy(apple)
    state = connected(apple).attach_purchase(user_ref=USER, token=signed(apple, original))
    last = apple.subscription(original).last
    assert (state.provider_sub_id, state.status, state.auto_renew) == (original, SubStatus.ACTIVE, True)
    assert (state.period_start, state.period_end) == (at(last["purchaseDate"]), at(last["expiresDate"]))
    assert (state.provider_plan_ref, state.user_ref, state.is_test) == ("premium.monthly", USER, False)
    assert not state.unacknowledged


def test_an_old_signature_shows_what_became_of_it(apple: AppleEmulator) -> None:
    original = buy(apple)
    token = signed(apple, original)
    apple.deed(original, "cancel")
    apple.deed(original, "expire")
    assert connected(apple).attach_purchase(user_ref=USER, token=token).status == SubStatus.EXPIRED


def test_a_family_members_purchase_names_nobody(apple: AppleEmulator) -> None:
    original = buy(apple, family_shared=True)
    state = connected(apple).attach_purchase(user_ref=USER, token=signed(apple, original))
    assert (state.status, state.user_ref) == (SubStatus.ACTIVE, None)


def test_whose_purchase_it_is_is_told_and_not_decided_here(apple: AppleEmulator) -> None:
    original = buy(apple)
    assert connected(apple).attach_purchase(user_ref="somebody-else", token=signed(apple, original)).user_ref == USER


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "\ud800", "ä.ä.ä"])
def test_a_token_that_is_none_is_refused(apple: AppleEmulator, token: str) -> None:
    with pytest.raises(RequestRefused):
        connected(apple).attach_purchase(user_ref=USER, token=token)
    assert apple.requests == []


def test_a_purchase_that_apple_did_not_sign_for_us_is_refused(apple: AppleEmulator) -> None:
    original = buy(apple)
    row = {**apple.subscription(original).last, "signedDate": apple.now()}
    forged = [
        Chain().sign(row),
        apple.chain.sign({**row, "bundleId": "com.other"}),
        apple.chain.sign({**row, "environment": "Xcode"}),
        apple.chain.sign({**row, "transactionId": ...} | {"transactionId": ""}),
        apple.chain.sign({key: value for key, value in row.items() if key != "expiresDate"}),
    ]
    for token in forged:
        with pytest.raises(RequestRefused):
            connected(apple).attach_purchase(user_ref=USER, token=token)
    assert apple.requests == []


def test_a_purchase_that_apple_does_not_know_is_unknown(apple: AppleEmulator) -> None:
    with pytest.raises(UnknownReference):
        connected(apple).attach_purchase(user_ref=USER, token=apple.chain.sign(transaction()))


def test_a_purchase_is_not_refused_because_nobody_answers(apple: AppleEmulator) -> None:
    token = signed(apple, buy(apple))
    apple.fail("statuses", "500", times=9)
    with pytest.raises(Unavailable):
        connected(apple).attach_purchase(user_ref=USER, token=token)
    with pytest.raises(Unavailable):  # the certificates name no server that could be asked
        connected(apple, online_checks=True).attach_purchase(user_ref=USER, token=token)


def test_a_live_service_sees_that_a_purchase_is_the_sandboxs() -> None:
    """App Review buys so."""
    with store(environment="Sandbox") as sandbox:
        original = buy(sandbox)
        live = connected(sandbox, environment="Production", test_mode=False, base_url="http://127.0.0.1:9")
        assert live.attach_purchase(user_ref=USER, token=signed(sandbox, original)).is_test
        assert not live.believes_tests
        assert connected(sandbox).get_subscription(original).is_test
        assert connected(sandbox).believes_tests
