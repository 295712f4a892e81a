"""2Checkout's adapter at the emulator: what is bought, changed, cancelled; the bytes on the wire; the errors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from providers import base
from providers.base import ChangeRequest, SubStatus
from providers.twocheckout import links
from providers.twocheckout.signature import api_header
from tests.emulators.twocheckout import TwoCheckoutEmulator
from tests.providers.twocheckout_support import (
    BUY_LINK_SECRET,
    EMAIL,
    NOW,
    SECRET_KEY,
    VECTORS,
    VENDOR,
    bought,
    days,
    emulator,
    link_request,
    provider_at,
    sub_request,
)


@pytest.fixture(scope="module")
def running() -> Iterator[TwoCheckoutEmulator]:
    with emulator() as tco:
        yield tco


@pytest.fixture
def tco(running: TwoCheckoutEmulator) -> TwoCheckoutEmulator:
    running.requests.clear()
    running.fail(None)
    running.set_clock(timedelta(0))
    return running


# --- buy links -------------------------------------------------------------------------------------------------------


def parameters(url: str | None) -> dict[str, str]:
    assert url is not None
    return dict(parse_qsl(urlsplit(url).query))


def test_subscriptions_link_carries_price_renewal_and_references(tco: TwoCheckoutEmulator) -> None:
    result = provider_at(tco).create_subscription(sub_request(renewal_amount=Decimal("19.99")))

    found = parameters(result.checkout_url)
    assert result.expires_at is not None
    assert len(found.pop("signature")) == 64
    assert found == {
        "merchant": VENDOR,
        "dynamic": "1",
        "prod": "Premium, für alle",
        "price": "9.99",
        "qty": "1",
        "type": "PRODUCT",
        "tangible": "0",
        "currency": "usd",
        "order-ext-ref": "ord_1",
        "customer-ext-ref": "user_123",
        "item-ext-ref": "premium",
        "return-url": "https://app.example.com/success?a=1",
        "return-type": "redirect",
        "expiration": str(int(result.expires_at.timestamp())),
        "recurrence": "1:MONTH",
        "duration": "1:FOREVER",
        "renewal-price": "19.99",
        "email": EMAIL,
    }
    assert (result.provider_sub_id, result.status) == (None, "pending")
    assert str(result.checkout_url).startswith(f"{tco.origin}/checkout/buy/?merchant=")


def test_signature_is_asked_for_with_the_parameters_and_a_token(tco: TwoCheckoutEmulator) -> None:
    result = provider_at(tco).create_subscription(sub_request())

    [request] = tco.requests
    asked = parameters(result.checkout_url)
    asked.pop("signature")
    assert (request.method, request.path) == ("POST", "/checkout/api/encrypt/generate/signature")
    assert request.body == json.dumps(asked, separators=(",", ":"), ensure_ascii=False).encode()
    assert "x-avangate-authentication" not in request.headers
    head, body, signed = request.headers["merchant-token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS512", "typ": "JWT"}
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (VENDOR, 3600)
    digest = hmac.new(BUY_LINK_SECRET.encode(), f"{head}.{body}".encode(), hashlib.sha512).digest()
    assert base64.urlsafe_b64decode(signed + "==") == digest


def test_invoices_link_does_not_recur(tco: TwoCheckoutEmulator) -> None:
    found = parameters(provider_at(tco).create_payment_link(link_request()).checkout_url)

    assert (found["price"], found["currency"], found["order-ext-ref"]) == ("4.50", "eur", "inv_1")
    assert not {"recurrence", "duration", "renewal-price"} & set(found)


def test_links_of_the_test_mode_charge_nobody(tco: TwoCheckoutEmulator) -> None:
    assert parameters(provider_at(tco, test_mode=True).create_payment_link(link_request()).checkout_url)["test"] == "1"


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [("6.9", "USD", "6.90"), ("1200.00", "JPY", "1200"), ("1.234", "KWD", "1.234"), ("990.0000", "RON", "990.00")],
)
def test_prices_have_the_currencys_digits(tco: TwoCheckoutEmulator, amount: str, currency: str, shown: str) -> None:
    request = sub_request(amount=Decimal(amount), currency=currency)

    found = parameters(provider_at(tco).create_subscription(request).checkout_url)
    assert (found["price"], found["renewal-price"]) == (shown, shown)


@pytest.mark.parametrize(
    ("interval", "recurrence"),
    [((1, "daily"), "1:DAY"), ((2, "weekly"), "2:WEEK"), ((3, "monthly"), "3:MONTH"), ((1, "yearly"), "1:YEAR")],
)
def test_intervals(tco: TwoCheckoutEmulator, interval: tuple[int, str], recurrence: str) -> None:
    result = provider_at(tco).create_subscription(sub_request(interval=interval))

    assert parameters(result.checkout_url)["recurrence"] == recurrence


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": Decimal(0)},
        {"amount": Decimal("-1")},
        {"renewal_amount": Decimal(0)},
        {"trial_days": 7},
        {"interval": (1, "hourly")},
        {"interval": (0, "monthly")},
        {"order_ref": "x" * 101},
        {"success_url": "javascript:alert(1)"},
    ],
)
def test_what_cannot_be_sold_is_refused_before_any_call(tco: TwoCheckoutEmulator, changes: dict[str, Any]) -> None:
    with pytest.raises(base.RequestRefused):
        provider_at(tco).create_subscription(sub_request(**changes))

    assert not tco.requests


def test_lost_signature_is_asked_for_again_and_nothing_was_made(tco: TwoCheckoutEmulator) -> None:
    before = len(tco.orders)
    tco.fail("timeout_after", times=1, seconds=3)

    result = provider_at(tco, answer_seconds=1).create_subscription(sub_request())

    assert result.checkout_url is not None
    assert len(tco.orders) == before


# --- the account's proof ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha3-256", "sha256"])
def test_calls_are_signed(tco: TwoCheckoutEmulator, algorithm: str) -> None:
    order = bought(tco)
    tco.requests.clear()

    provider_at(tco, algorithm=algorithm).get_subscription(order.subscription or "")

    [request] = tco.requests
    assert request.path == f"/rest/6.0/subscriptions/{order.subscription}/"
    assert request.headers["x-avangate-authentication"].endswith(f'algo="{algorithm}"')
    assert request.headers["accept"] == "application/json"


def test_wrong_keys_are_told_apart_from_other_refusals(tco: TwoCheckoutEmulator) -> None:
    with pytest.raises(base.AuthError):
        provider_at(tco, secret_key="another").get_subscription("S1")
    with pytest.raises(base.AuthError):
        provider_at(tco, buy_link_secret="another").create_subscription(sub_request())


@pytest.mark.parametrize("changes", [{"secret_key": ""}, {"merchant_code": ""}, {"merchant_code": 'a"b'}])
def test_without_keys_nothing_is_called(tco: TwoCheckoutEmulator, changes: dict[str, Any]) -> None:
    with pytest.raises(base.AuthError):
        provider_at(tco, **changes).get_subscription("S1")

    assert not tco.requests


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_header_and_token_are_those_of_the_vectors() -> None:
    known = json.loads((VECTORS / "api_auth_header.json").read_text())
    headers = {
        algorithm: api_header(
            merchant_code=known["vendor_code"],
            secret_key=known["secret_key"],
            algorithm=algorithm,
            now=datetime.fromisoformat(known["date"]).replace(tzinfo=UTC),
        )
        for algorithm in ("sha3-256", "sha256")
    }
    assert f"X-Avangate-Authentication: {headers['sha3-256']}" == known["header_sha3"]
    assert f'hash="{known["sha256"]}"' in headers["sha256"]
    word = json.loads((VECTORS / "buylink_jwt_hs512.json").read_text())
    head, body, _ = word["token"].split(".")
    assert links.sealed(head, body, word["secret_word"]) == word["token"]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_unknown_references_are_named_so(tco: TwoCheckoutEmulator) -> None:
    with pytest.raises(base.UnknownReference):
        provider_at(tco).get_subscription("S404")
    with pytest.raises(base.UnknownReference):
        provider_at(tco).refund(provider_txn_id="404", amount=None, currency="USD", reason="r", idempotency_key="k")
    with pytest.raises(base.UnknownReference):
        provider_at(tco).fetch_events("S404", since=NOW)


# --- the subscription ------------------------------------------------------------------------------------------------


def test_state_is_the_subscriptions(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    subscription = tco.subscription(order.subscription or "")

    state = provider_at(tco).get_subscription(subscription.ref)

    assert (state.status, state.auto_renew, state.user_ref) == (SubStatus.ACTIVE, True, "user_123")
    assert (state.period_end, state.is_test) == (subscription.expires_at, False)
    assert state.as_of is not None and abs(state.as_of - tco.now()) < timedelta(seconds=5)


def test_every_state_has_its_word(tco: TwoCheckoutEmulator) -> None:
    adapter, order = provider_at(tco), bought(tco)
    ref = order.subscription or ""
    end = tco.subscription(ref).expires_at

    def seen() -> tuple[SubStatus, bool | None, datetime | None]:
        state = adapter.get_subscription(ref)
        return state.status, state.auto_renew, state.period_end

    assert seen() == (SubStatus.ACTIVE, True, end)
    tco.change(ref, recurring=False)
    assert seen() == (SubStatus.CANCELED, False, end)
    tco.change(ref, recurring=True)
    tco.set_clock(end - datetime.now(UTC) + days(1))
    assert seen() == (SubStatus.PAST_DUE, True, end + days(7))
    tco.set_clock(end - datetime.now(UTC) + days(8))
    assert seen() == (SubStatus.EXPIRED, True, end)
    tco.set_clock(timedelta(0))
    tco.change(ref, enabled=False)
    assert seen() == (SubStatus.REVOKED, False, end)
    tco.set_clock(days(-3))
    tco.subscription(ref).enabled = True
    assert seen()[0] is SubStatus.PENDING


def test_cancelling_at_the_periods_end_leaves_the_rest_of_it(tco: TwoCheckoutEmulator) -> None:
    ref = bought(tco).subscription or ""

    first = provider_at(tco).cancel_subscription(ref)
    tco.requests.clear()
    again = provider_at(tco).cancel_subscription(ref)

    assert (first.status, first.auto_renew) == (SubStatus.CANCELED, False)
    assert first.period_end == again.period_end == tco.subscription(ref).expires_at
    assert tco.subscription(ref).enabled
    assert [request.method for request in tco.requests] == ["GET"]


def test_cancelling_whose_answer_is_lost_is_done_once(tco: TwoCheckoutEmulator) -> None:
    ref = bought(tco).subscription or ""
    adapter = provider_at(tco, answer_seconds=1)
    tco.fail("timeout_after", seconds=2, method="DELETE")

    assert adapter.cancel_subscription(ref).status is SubStatus.CANCELED
    assert not tco.subscription(ref).recurring


def test_what_has_ended_is_not_resumed(tco: TwoCheckoutEmulator) -> None:
    ref, adapter = bought(tco).subscription or "", provider_at(tco)
    adapter.cancel_subscription(ref, at_period_end=False)

    with pytest.raises(base.RequestRefused):
        adapter.resume_subscription(ref)


def change(ref: str, **changes: Any) -> ChangeRequest:
    values: dict[str, Any] = {
        "provider_sub_id": ref,
        "plan_ref": "pro",
        "provider_plan_ref": None,
        "amount": Decimal("29.90"),
        "currency": "USD",
        "interval": (1, "monthly"),
        "now": False,
        "idempotency_key": "change:1",
    }
    return ChangeRequest(**{**values, **changes})


def test_change_sets_the_price_of_the_renewals(tco: TwoCheckoutEmulator) -> None:
    ref = bought(tco).subscription or ""
    tco.requests.clear()

    state = provider_at(tco).change_subscription(change(ref))

    put = next(request for request in tco.requests if request.method == "PUT")
    assert put.path == f"/rest/6.0/subscriptions/{ref}/renewal/price/USD/"
    assert put.body == b'{"Cycles":1200,"Currency":"USD","Price":29.90,"Text":"pro"}'
    assert state.status is SubStatus.ACTIVE
    tco.renew(ref)
    assert [order.total for order in tco.orders.values() if order.subscription == ref] == [
        Decimal("9.99"),
        Decimal("29.90"),
    ]


@pytest.mark.parametrize(
    "changes", [{"interval": (1, "yearly")}, {"interval": (2, "monthly")}, {"amount": Decimal(0)}], ids=str
)
def test_change_that_2checkout_cannot_make_is_refused(tco: TwoCheckoutEmulator, changes: dict[str, Any]) -> None:
    ref = bought(tco).subscription or ""

    with pytest.raises(base.RequestRefused):
        provider_at(tco).change_subscription(change(ref, **changes))
    assert tco.subscription(ref).renewal_price is None


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_and_no_person_is_shown(tco: TwoCheckoutEmulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    adapter = provider_at(tco)
    order = bought(tco)
    adapter.fetch_events(order.subscription or "", since=NOW)
    adapter.refund(
        provider_txn_id=order.ref, amount=None, currency="USD", reason="r", idempotency_key="refund:secret-key"
    )

    shown = [repr(adapter), repr(adapter._settings), caplog.text]
    for text in shown:
        for secret in (SECRET_KEY, BUY_LINK_SECRET, EMAIL, "user_123", "Ünal", "merchant-token"):
            assert secret not in text
