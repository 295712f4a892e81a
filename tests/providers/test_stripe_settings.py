"""What Stripe's adapter can and cannot in either mode, how it fails, and the faults of its settings."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers import base
from providers.base import Caps
from providers.registry import adapter_class
from providers.stripe.adapter import StripeProvider
from tests.providers.lava_support import Peer
from tests.providers.stripe_support import LIVE_KEY, link_request, provider, sub_request

COMMON: dict[str, Any] = {
    "create": True,
    "hosted_checkout": True,
    "trial": True,
    "refund_full": True,
    "refund_partial": True,
    "webhooks_signed": True,
    "test_mode": True,
    "feed": True,
}


@pytest.fixture(scope="module")
def listening() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.stop()


@pytest.fixture
def peer(listening: Peer) -> Peer:
    listening.received.clear()
    return listening


# --- capabilities ------------------------------------------------------------------------------------------------------


def test_capabilities_depend_on_the_mode() -> None:
    assert provider().capabilities == Caps(
        **COMMON, merchant_charge=True, payment_link=True, renewal_driver="merchant", price_set_by="payflow"
    )
    assert provider(mode="billing").capabilities == Caps(
        **COMMON,
        cancel_now=True,
        cancel_at_period_end=True,
        resume=True,
        pause=True,
        change=True,
        fetch_state=True,
        renewal_driver="provider",
        price_set_by="provider",
    )


def test_without_checkout_payments_mode_sells_nothing_by_itself(peer: Peer) -> None:
    stripe = provider(peer.origin, legacy_plans=True)

    caps = stripe.capabilities
    assert not (caps.create or caps.hosted_checkout or caps.payment_link or caps.trial)
    assert provider(mode="billing", legacy_plans=True).capabilities.create
    for call, request in ((stripe.create_subscription, sub_request()), (stripe.create_payment_link, link_request())):
        with pytest.raises(base.NotSupported):
            call(request)
    assert not peer.received


EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CHARGE = {"request": base.ChargeRequest("pm", "cus", Decimal(1), "USD", "key")}
CHANGE = {"request": base.ChangeRequest("s", "pro", "price", Decimal(1), "USD", (1, "monthly"), True, "key")}
NEITHER: dict[str, dict[str, Any]] = {
    "attach_purchase": {"user_ref": "u", "token": "t"},
    "acknowledge_purchase": {"provider_sub_id": "s"},
}
NOT_PAYMENTS: dict[str, dict[str, Any]] = {
    **NEITHER,
    "get_subscription": {"provider_sub_id": "s"},
    "fetch_events": {"provider_sub_id": "s", "since": EPOCH},
    "cancel_subscription": {"provider_sub_id": "s"},
    "resume_subscription": {"provider_sub_id": "s"},
    "pause_subscription": {"provider_sub_id": "s"},
    "change_subscription": CHANGE,
}
NOT_BILLING: dict[str, dict[str, Any]] = {
    **NEITHER,
    "create_payment_link": {"request": link_request()},
    "charge": CHARGE,
    "find_payment": {"idempotency_key": "key", "created_at": EPOCH},
}


@pytest.mark.parametrize(
    ("mode", "method", "arguments"),
    [
        *(("payments", *item) for item in NOT_PAYMENTS.items()),
        *(("billing", *item) for item in NOT_BILLING.items()),
    ],
)
def test_what_a_mode_has_not_is_refused_without_a_call(
    peer: Peer, mode: str, method: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(base.NotSupported):
        getattr(provider(peer.origin, mode=mode), method)(**arguments)

    assert not peer.received


def test_the_portal_is_shown_where_it_is_configured_and_stripe_renews() -> None:
    url = "https://billing.stripe.com/p/login/x"

    assert provider(mode="billing", portal_url=url).manage_url("sub_1") == url
    assert provider(mode="billing").manage_url("sub_1") is None
    assert provider(portal_url=url).manage_url("sub_1") is None


def test_the_registry_knows_the_adapter() -> None:
    assert adapter_class("stripe") is StripeProvider


def test_currencies_that_stripe_does_not_list_are_not_sold() -> None:
    assert [c for c in ("USD", "JPY", "KWD", "IQD", "XXX", "usd") if provider().supports_currency(c)] == [
        "USD",
        "JPY",
        "KWD",
    ]


# --- errors ------------------------------------------------------------------------------------------------------------

TEXT = "No such thing for anna@example.com"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"type": "invalid_request_error"}, base.RequestRefused),
        (400, {"type": "invalid_request_error", "code": "resource_missing"}, base.UnknownReference),
        (400, {"type": "idempotency_error"}, base.Unavailable),
        (401, {"type": "invalid_request_error"}, base.AuthError),
        (402, {"type": "card_error", "code": "card_declined"}, base.RequestRefused),
        (403, {"type": "invalid_request_error"}, base.AuthError),
        (404, {"type": "invalid_request_error"}, base.UnknownReference),
        (408, {"type": "api_error"}, base.Unavailable),
        (409, {"type": "invalid_request_error"}, base.RequestRefused),
        (409, {"type": "invalid_request_error", "code": "idempotency_key_in_use"}, base.Unavailable),
        (422, {"type": "invalid_request_error"}, base.RequestRefused),
        (429, {"type": "invalid_request_error", "code": "rate_limit"}, base.RateLimited),
        (500, {"type": "api_error"}, base.Unavailable),
        (503, {"type": "api_error"}, base.Unavailable),
        (302, {}, base.Unavailable),
    ],
)
def test_each_refusal_has_its_error_and_not_stripes_words(
    peer: Peer, status: int, error: dict[str, str], expected: type[Exception]
) -> None:
    peer.answers(status, {"error": {**error, "message": TEXT}}, Retry_After="7", Location="http://127.0.0.1:9/")

    with pytest.raises(base.ProviderError) as raised:
        provider(peer.origin).create_subscription(sub_request())

    assert type(raised.value) is expected
    assert "anna" not in str(raised.value) + repr(raised.value) + repr(raised.value.__context__)
    assert getattr(raised.value, "retry_after", 7) == 7


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[]", b'"text"', b"{", b"[" * 20000])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_that_is_none_is_an_error_of_the_contract(peer: Peer, status: int, body: bytes) -> None:
    peer.answers(status, body)

    with pytest.raises(base.ProviderError):
        provider(peer.origin).create_subscription(sub_request())
    with pytest.raises(base.ProviderError):
        provider(peer.origin).charge(CHARGE["request"])


@pytest.mark.parametrize("url", [None, 5, "", "javascript:alert(1)", "https://a.example/ b"])
def test_a_session_without_a_page_is_no_checkout(peer: Peer, url: object) -> None:
    peer.answers(200, {"id": "cs_1", "object": "checkout.session", "url": url})

    with pytest.raises(base.ProviderError):
        provider(peer.origin).create_subscription(sub_request())


@pytest.mark.parametrize("status", ["of tomorrow", None, [], "requires_capture"])
def test_a_charge_of_an_unknown_status_is_under_way(peer: Peer, status: object) -> None:
    peer.answers(200, {"id": "pi_1", "object": "payment_intent", "status": status})

    assert provider(peer.origin).charge(CHARGE["request"]).outcome is base.Outcome.PENDING


def test_a_charge_that_redirects_shows_where(peer: Peer) -> None:
    url = "https://hooks.stripe.com/redirect/1"
    peer.answers(
        200,
        {
            "id": "pi_1",
            "object": "payment_intent",
            "status": "requires_action",
            "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": url}},
        },
    )

    result = provider(peer.origin).charge(CHARGE["request"])

    assert (result.outcome, result.action_url) == (base.Outcome.REQUIRES_ACTION, url)


def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        origin = f"http://127.0.0.1:{closed.getsockname()[1]}"

    with pytest.raises(base.Unavailable):
        provider(origin).create_subscription(sub_request())


@pytest.mark.parametrize("key", ["", "ключ", "a\r\nX-Other: b"])
def test_a_key_that_no_header_can_hold_makes_no_call(peer: Peer, key: str) -> None:
    with pytest.raises(base.AuthError):
        provider(peer.origin, secret_key=key).create_subscription(sub_request())

    assert not peer.received


# --- settings ----------------------------------------------------------------------------------------------------------


def faults(*, debug: bool = False, **changes: Any) -> list[tuple[str, str]]:
    good = {"secret_key": LIVE_KEY}
    found = provider(changes.pop("base_url", "https://api.stripe.com"), **{**good, **changes})
    return [(fault.level, f"{fault.message} {fault.hint}") for fault in found.config_faults(debug=debug)]


def test_good_settings_have_no_faults() -> None:
    assert faults() == []
    assert faults(mode="billing", portal_url="https://billing.stripe.com/p/login/x") == []
    assert faults(debug=True, secret_key="sk_test_x", base_url="http://127.0.0.1:8803") == []


@pytest.mark.parametrize(
    ("changes", "level", "variable"),
    [
        ({"secret_key": ""}, "error", "STRIPE_SECRET_KEY"),
        ({"secret_key": None}, "error", "STRIPE_SECRET_KEY"),
        ({"secret_key": "ключ"}, "error", "STRIPE_SECRET_KEY"),
        ({"secret_key": "pk_live_x"}, "error", "STRIPE_SECRET_KEY"),
        ({"secret_key": "sk_test_x"}, "warning", "STRIPE_SECRET_KEY"),
        ({"webhook_secret": "  "}, "error", "STRIPE_WEBHOOK_SECRET"),
        ({"webhook_secret": "secret"}, "warning", "STRIPE_WEBHOOK_SECRET"),
        ({"previous_webhook_secret": "secret"}, "warning", "STRIPE_PREVIOUS_WEBHOOK_SECRET"),
        ({"mode": "both"}, "error", "STRIPE_MODE"),
        ({"base_url": "http://api.stripe.com"}, "error", "STRIPE_BASE_URL"),
        ({"base_url": "http://127.0.0.1:8803"}, "error", "STRIPE_BASE_URL"),
        ({"base_url": "api.stripe.com"}, "error", "STRIPE_BASE_URL"),
        ({"portal_url": "javascript:alert(1)"}, "error", "STRIPE_PORTAL_URL"),
    ],
)
def test_each_fault_is_told_with_its_variable(changes: dict[str, Any], level: str, variable: str) -> None:
    [(found, text)] = faults(**changes)

    assert found == level
    assert variable in text
    assert "ключ" not in text


def test_all_faults_are_told_at_once() -> None:
    found = StripeProvider("stripe", {"mode": "x", "base_url": "ftp://x", "portal_url": "x"}).config_faults(debug=True)

    assert [fault.level for fault in found] == ["error"] * 5
