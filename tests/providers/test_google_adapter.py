"""Google's adapter over real HTTP: capabilities, requests to the byte, repeated calls, errors, settings, secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from providers import base
from providers.base import Caps, SubStatus
from providers.google.adapter import GoogleProvider
from providers.registry import adapter_class
from tests.emulators.google import GoogleEmulator, Product
from tests.emulators.google.server import ACCESS_TOKEN
from tests.providers.google_support import USER, last, offline, provider

API = "/androidpublisher/v3/applications/com.example.app"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def google() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def adapter(google: GoogleEmulator) -> GoogleProvider:
    return provider(google)


def bought(google: GoogleEmulator, products: Sequence[Product] = (), **options: Any) -> str:
    token = google.purchase(*products, user=USER, **options).token
    google.purchases[token].acknowledged = True
    return token


def calls(google: GoogleEmulator) -> list[tuple[str, str, bytes]]:
    """What the API was asked, in order, without the service account's token."""
    return [(each.method, each.path, each.body) for each in google.requests if each.path.startswith("/androidpub")]


# --- capabilities ----------------------------------------------------------------------------------------------------


def test_capabilities() -> None:
    assert offline().capabilities == Caps(
        attach=True,
        cancel_now=True,
        cancel_at_period_end=True,
        refund_full=True,
        renewal_driver="provider",
        price_set_by="provider",
        merchant_of_record=True,
        grace=True,
        webhooks_signed=True,
        fetch_state=True,
        test_mode=True,
        acknowledge=True,
        feed=True,
    )
    assert adapter_class("google") is GoogleProvider


def requests() -> dict[str, dict[str, Any]]:
    urls = dict.fromkeys(("success_url", "fail_url", "cancel_url", "hook_url"), "https://x.example")
    sale = {"user_ref": "u", "plan_ref": "p", "order_ref": "o", "amount": Decimal(1), "currency": "USD"}
    sale |= {"email": "a@example.com", "idempotency_key": "key", **urls}
    sub = base.SubRequest(**sale, provider_plan_ref=None, interval=(1, "monthly"), trial_days=0)
    change = base.ChangeRequest("s", "pro", None, Decimal(1), "USD", (1, "monthly"), True, "key")
    return {
        "create_subscription": {"request": sub},
        "create_payment_link": {"request": base.LinkRequest(**sale)},
        "charge": {"request": base.ChargeRequest("pm", "cus", Decimal(1), "USD", "key")},
        "find_payment": {"idempotency_key": "key", "created_at": SINCE},
        "resume_subscription": {"provider_sub_id": "s"},
        "pause_subscription": {"provider_sub_id": "s"},
        "change_subscription": {"request": change},
    }


@pytest.mark.parametrize("method", requests())
def test_what_google_does_not_offer_is_refused_without_a_call(google: GoogleEmulator, method: str) -> None:
    with pytest.raises(base.NotSupported):
        getattr(provider(google), method)(**requests()[method])
    assert not google.requests


def test_the_page_to_manage_it_at() -> None:
    page = "https://play.google.com/store/account/subscriptions"
    for product in (None, "", "premium:monthly+extra:monthly"):
        assert offline().manage_url("t", provider_plan_ref=product) == f"{page}?package=com.example.app"
    for product in ("premium", "premium:monthly"):
        assert offline().manage_url("t", provider_plan_ref=product) == f"{page}?sku=premium&package=com.example.app"


# --- requests --------------------------------------------------------------------------------------------------------


def test_requests_are_googles_to_the_byte(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = google.purchase(user=USER).token
    order_id = google.purchases[token].first_order
    at = f"{API}/purchases/subscriptionsv2/tokens/{quote(token, safe='')}"
    read = ("GET", at, b"")
    order = ("GET", f"{API}/orders/{order_id}", b"")

    adapter.attach_purchase(user_ref=USER, token=token)
    adapter.acknowledge_purchase(token)
    assert calls(google) == [
        read,
        read,
        ("POST", f"{API}/purchases/subscriptions/premium/tokens/{token}:acknowledge", b"{}"),
    ]
    google.requests.clear()
    adapter.cancel_subscription(token)
    cancel = b'{"cancellationContext":{"cancellationType":"USER_REQUESTED_STOP_RENEWALS"}}'
    assert calls(google) == [read, ("POST", f"{at}:cancel", cancel), read]
    google.requests.clear()
    google.advance(timedelta(days=1))
    adapter.cancel_subscription(token, at_period_end=False)
    revoke = b'{"revocationContext":{"proratedRefund":{}}}'
    assert calls(google) == [read, order, ("POST", f"{at}:revoke", revoke), read]
    order_id = google.purchases[bought(google)].first_order
    order = ("GET", f"{API}/orders/{order_id}", b"")
    google.requests.clear()
    adapter.refund(provider_txn_id=order_id, amount=None, currency="USD", reason="asked", idempotency_key="k")
    assert calls(google) == [order, ("POST", f"{API}/orders/{order_id}:refund?revoke=false", b"{}"), order]
    for each in google.requests:
        assert each.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"
        assert each.method == "GET" or each.headers["content-type"] == "application/json"


def test_one_access_token_serves_all_calls(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    for _ in range(3):
        adapter.get_subscription(token)
    [asked] = [each for each in google.requests if each.path == "/token"]

    assert google.asked["token"] == 1
    assert parse_qs(asked.body.decode())["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    google.fault("api", "401")
    with pytest.raises(base.AuthError):
        adapter.get_subscription(token)
    adapter.get_subscription(token)
    assert google.asked["token"] == 2


# --- buying ----------------------------------------------------------------------------------------------------------


def test_attach_tells_what_google_knows(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = google.purchase(user=USER).token
    state = adapter.attach_purchase(user_ref="somebody else", token=token)

    assert (state.status, state.user_ref, state.provider_plan_ref) == (SubStatus.ACTIVE, USER, "premium:monthly")
    assert (state.period_end, state.auto_renew) == (google.purchases[token].expires_at, True)
    assert (state.unacknowledged, state.is_test, state.replaces) == (True, False, None)


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("unknown.AO-J1", base.UnknownReference),
        ("nonsense", base.RequestRefused),
        ("x" * 2001, base.RequestRefused),
        ("ä.x" * 100, base.RequestRefused),
        ("", base.RequestRefused),
        (" a.b ", base.RequestRefused),
        ("a\nb", base.RequestRefused),
        ("../../orders/1", base.UnknownReference),
    ],
)
def test_a_token_that_is_none(adapter: GoogleProvider, token: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        adapter.attach_purchase(user_ref=USER, token=token)


def test_acknowledged_exactly_once(google: GoogleEmulator) -> None:
    adapter = provider(google, answer_seconds=0.5)
    token = google.purchase(user=USER).token
    adapter.attach_purchase(user_ref=USER, token=token)
    google.fault("api", "timeout_after", after=1, seconds=0.8)  # the reading is answered, the deed is not

    with pytest.raises(base.Unavailable):
        adapter.acknowledge_purchase(token)
    for _ in range(2):
        adapter.acknowledge_purchase(token)
    assert google.acknowledgements == [token]
    assert len([path for method, path, _ in calls(google) if method == "POST"]) == 1


# --- ending it -------------------------------------------------------------------------------------------------------


def test_cancel_twice_is_cancelled(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    for _ in range(2):
        state = adapter.cancel_subscription(token)
        assert (state.status, state.auto_renew) == (SubStatus.CANCELED, False)
        assert state.period_end == google.purchases[token].expires_at
    assert [path for method, path, _ in calls(google) if method == "POST"] == [
        f"{API}/purchases/subscriptionsv2/tokens/{token}:cancel"
    ]
    assert google.purchases[token].state == "CANCELED"


def test_what_is_gone_is_cancelled(adapter: GoogleProvider) -> None:
    for at_period_end in (True, False):
        state = adapter.cancel_subscription("gone.AO-J1", at_period_end=at_period_end)
        assert (state.status, state.auto_renew) == (SubStatus.CANCELED, False)


def test_cancel_now_gives_the_unused_part_back(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google, products=[Product(days=30, price="30")])
    google.advance(timedelta(days=10))
    for _ in range(2):
        assert adapter.cancel_subscription(token, at_period_end=False).status == SubStatus.CANCELED
    [order] = google.purchases[token].orders
    [(_, given_back)] = order.partials

    assert google.purchases[token].state == "EXPIRED"
    assert Decimal("19.9") < given_back <= 20
    [event] = last(google, adapter)
    assert (event.amount, event.parent_payment_id) == (given_back, order.order_id)


def test_cancel_now_refunds_nothing_that_was_refunded(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    refunded, trial = bought(google), bought(google, trial_days=7)
    google.refund(google.purchases[refunded].first_order)
    for token in (refunded, trial):
        assert adapter.cancel_subscription(token, at_period_end=False).status == SubStatus.CANCELED
        assert google.purchases[token].state == "CANCELED"
        assert not google.purchases[token].orders[0].partials


@pytest.mark.parametrize("at_period_end", [True, False])
def test_a_cancel_without_an_answer_is_asked_again(google: GoogleEmulator, at_period_end: bool) -> None:
    adapter, token = provider(google, answer_seconds=0.5), bought(google)
    adapter.get_subscription(token)
    google.fault("api", "timeout_after", after=1 if at_period_end else 2, seconds=0.8)

    with pytest.raises(base.Unavailable):
        adapter.cancel_subscription(token, at_period_end=at_period_end)
    google.fault("api", None)
    assert adapter.cancel_subscription(token, at_period_end=at_period_end).status == SubStatus.CANCELED


def test_a_refund_is_one_however_often_it_is_asked(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    order_id = google.purchases[bought(google)].first_order
    for amount in (None, Decimal("9.99"), None):
        result = refund(adapter, order_id, amount)
        assert (result.status, result.provider_refund_id, result.amount) == ("succeeded", order_id, Decimal("9.99"))
    [event] = last(google, adapter)

    assert len(google.voided) == 1
    assert (event.provider_payment_id, event.amount) == (result.provider_refund_id, result.amount)
    assert google.purchases[event.provider_sub_id or ""].state == "ACTIVE"


@pytest.mark.parametrize("amount", [Decimal("9.98"), Decimal("10"), Decimal(0)])
def test_a_part_or_more_than_the_whole_is_refused(
    google: GoogleEmulator, adapter: GoogleProvider, amount: Decimal
) -> None:
    order_id = google.purchases[bought(google)].first_order

    with pytest.raises(base.RequestRefused):
        refund(adapter, order_id, amount)
    refund(adapter, order_id, None)
    with pytest.raises(base.RequestRefused):
        refund(adapter, order_id, amount)
    assert len(google.voided) == 1


def test_the_rest_of_a_refunded_part_is_refunded(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    order_id = google.purchases[bought(google)].first_order
    google.refund_part(order_id, Decimal("4"))

    assert refund(adapter, order_id, Decimal("5.99")).amount == Decimal("5.99")


def test_no_such_order_currency_or_money(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    order_id = google.purchases[bought(google)].first_order

    with pytest.raises(base.UnknownReference):
        refund(adapter, "GPA.0", None)
    with pytest.raises(base.RequestRefused):
        refund(adapter, order_id, None, currency="EUR")
    google.orders[order_id].state = "CANCELED"
    with pytest.raises(base.RequestRefused):
        refund(adapter, order_id, None)
    google.orders[order_id].state = "PENDING_REFUND"
    assert refund(adapter, order_id, None).status == "pending"
    assert not google.voided


def refund(adapter: GoogleProvider, order_id: str, amount: Decimal | None, currency: str = "USD") -> base.RefundResult:
    return adapter.refund(
        provider_txn_id=order_id, amount=amount, currency=currency, reason="asked", idempotency_key="k"
    )


# --- errors ----------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[GoogleProvider, str], object]] = {
    "get": lambda adapter, token: adapter.get_subscription(token),
    "attach": lambda adapter, token: adapter.attach_purchase(user_ref=USER, token=token),
    "fetch": lambda adapter, token: adapter.fetch_events(token, since=SINCE),
    "missed": lambda adapter, token: list(adapter.missed_events(since=SINCE, until=SINCE)),
    "acknowledge": lambda adapter, token: adapter.acknowledge_purchase(token),
    "cancel": lambda adapter, token: adapter.cancel_subscription(token),
    "refund": lambda adapter, token: refund(adapter, "GPA.1", None),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", base.AuthError),
        ("403", base.AuthError),
        ("429", base.RateLimited),
        ("500", base.Unavailable),
        ("garbage", base.Unavailable),
    ],
)
def test_errors(google: GoogleEmulator, adapter: GoogleProvider, call: str, fault: str, error: type[Exception]) -> None:
    google.fault("api", fault, times=9)

    with pytest.raises(error) as raised:
        CALLS[call](adapter, "a.b")
    assert "said by Google only" not in str(raised.value)
    assert getattr(raised.value, "retry_after", 7) == 7


@pytest.mark.parametrize(
    ("fault", "error"),
    [("403", base.AuthError), ("500", base.Unavailable), ("timeout", base.Unavailable), ("garbage", base.Unavailable)],
)
def test_no_access_token(google: GoogleEmulator, fault: str, error: type[Exception]) -> None:
    google.fault("token", fault, times=9, seconds=1)

    with pytest.raises(error) as raised:
        provider(google, answer_seconds=0.3).get_subscription("a.b")
    assert "said by Google only" not in str(raised.value)
    assert google.asked["api"] == 0


def test_another_service_account_is_refused(google: GoogleEmulator) -> None:
    account = json.loads(google.settings()["service_account"]) | {"client_email": "other@example.com"}

    with pytest.raises(base.AuthError):
        provider(google, service_account=json.dumps(account)).get_subscription("a.b")
    with pytest.raises(base.AuthError):
        provider(google, service_account="{}").get_subscription("a.b")
