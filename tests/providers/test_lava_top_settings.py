"""What lava.top's adapter can and cannot, the faults of its settings, its errors, and that it shows no secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import environ
import pytest

from payflow.settings.providers import configured
from providers import base
from providers.base import Caps
from providers.lava.top.adapter import LavaTopProvider
from providers.registry import UnknownProvider, adapter_class
from tests.emulators.lava import LavaTopEmulator
from tests.providers.lava_flavours import (
    BUYER,
    TOP_PAID,
    WEBHOOK_KEY,
    lava_top,
    offer_request,
    top_emulator,
    top_sent,
)
from tests.providers.lava_support import API_KEY, Peer, link_request

NOW = datetime(2026, 11, 8, tzinfo=UTC)


@pytest.fixture
def lava() -> Iterator[LavaTopEmulator]:
    with top_emulator() as running:
        yield running


def test_capabilities() -> None:
    assert lava_top().capabilities == Caps(
        create=True,
        hosted_checkout=True,
        cancel_at_period_end=True,
        renewal_driver="provider",
        price_set_by="payflow",
        webhooks_signed=False,
        fetch_state=True,
    )
    assert [lava_top().supports_currency(each) for each in ("RUB", "USD", "EUR", "GBP")] == [True, True, True, False]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("create_payment_link", {"request": link_request()}),
        ("attach_purchase", {"user_ref": "u", "token": "t"}),
        ("charge", {"request": base.ChargeRequest("pm", "cus", Decimal(1), "RUB", "key")}),
        ("find_payment", {"idempotency_key": "key", "created_at": NOW}),
        (
            "refund",
            {"provider_txn_id": "i", "amount": None, "currency": "RUB", "reason": "r", "idempotency_key": "key"},
        ),
        ("cancel_subscription", {"provider_sub_id": "s", "at_period_end": False}),
        ("resume_subscription", {"provider_sub_id": "s"}),
        ("pause_subscription", {"provider_sub_id": "s"}),
        (
            "change_subscription",
            {"request": base.ChangeRequest("s", "pro", None, Decimal(1), "RUB", (1, "monthly"), True, "key")},
        ),
        ("missed_events", {"since": NOW, "until": NOW}),
        ("acknowledge_purchase", {"provider_sub_id": "s"}),
    ],
)
def test_what_lava_cannot_is_refused_without_a_call(
    lava: LavaTopEmulator, method: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(base.NotSupported):
        getattr(lava_top(lava.base_url), method)(**arguments)

    assert not lava.requests


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "level", "variable"),
    [
        ({"api_key": ""}, "error", "LAVA_API_KEY"),
        ({"api_key": "ключ"}, "error", "LAVA_API_KEY"),
        ({"secret_key": None}, "error", "LAVA_SECRET_KEY"),
        ({"secret_key": "k" * 81}, "error", "LAVA_SECRET_KEY"),
        ({"secret_key": API_KEY}, "warning", "LAVA_SECRET_KEY"),
        ({"webhook_user": "a:b"}, "error", "LAVA_WEBHOOK_USER"),
        ({"base_url": "http://gate.lava.top"}, "error", "LAVA_BASE_URL"),
    ],
)
def test_fault_names_its_variable(changes: dict[str, Any], level: str, variable: str) -> None:
    [fault] = lava_top(**changes).config_faults(debug=False)

    assert fault.level == level
    assert variable in fault.hint


def test_good_settings_have_no_faults() -> None:
    assert lava_top().config_faults(debug=False) == []
    assert lava_top(webhook_user="payflow", secret_key="k" * 81).config_faults(debug=False) == []


@pytest.mark.parametrize(
    ("flavour", "adapter", "base_url"),
    [
        (None, "lava", "https://api.lava.top/v1"),
        ("document", "lava", "https://api.lava.top/v1"),
        ("lava_ru", "lava_ru", "https://api.lava.ru"),
        ("lava_top", "lava_top", "https://gate.lava.top"),
    ],
)
def test_the_flavour_chooses_adapter_and_address(
    monkeypatch: pytest.MonkeyPatch, flavour: str | None, adapter: str, base_url: str
) -> None:
    monkeypatch.setenv("LAVA_SECRET_KEY", "k")
    monkeypatch.delenv("LAVA_BASE_URL", raising=False)
    if flavour is None:
        monkeypatch.delenv("LAVA_FLAVOUR", raising=False)
    else:
        monkeypatch.setenv("LAVA_FLAVOUR", flavour)

    lava = configured(environ.Env())["lava"]

    assert (lava["adapter"], lava["base_url"]) == (adapter, base_url)
    assert adapter_class(str(lava["adapter"])).__module__.startswith("providers.lava.")


@pytest.mark.parametrize("flavour", ["", "lava", "stripe", "Document"])
def test_another_flavour_is_no_adapter(monkeypatch: pytest.MonkeyPatch, flavour: str) -> None:
    monkeypatch.setenv("LAVA_SECRET_KEY", "k")
    monkeypatch.setenv("LAVA_FLAVOUR", flavour)

    with pytest.raises(UnknownProvider, match=f"LAVA_FLAVOUR={flavour}"):
        adapter_class(str(configured(environ.Env())["lava"]["adapter"]))


def test_the_registry_knows_the_adapter() -> None:
    assert adapter_class("lava_top") is LavaTopProvider


# --- errors and secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, base.RequestRefused),
        (401, base.AuthError),
        (403, base.AuthError),
        (404, base.UnknownReference),
        (409, base.RequestRefused),
        (422, base.RequestRefused),
        (429, base.RateLimited),
        (500, base.Unavailable),
        (302, base.Unavailable),
    ],
)
def test_errors_are_mapped_and_say_nothing_of_lavas_text(
    status: int, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    peer = Peer()
    peer.answers(status, {"error": f"leaked {API_KEY}", "details": {}})

    with pytest.raises(base.ProviderError) as raised:
        lava_top(peer.origin).get_subscription("s")

    peer.stop()
    assert type(raised.value) is error
    for text in (str(raised.value), repr(raised.value.__cause__), caplog.text):
        assert "leaked" not in text
        assert API_KEY not in text


@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b'{"subscriptionStatus": "ACTIVE", "expiredAt": "soon"}'])
def test_answer_that_cannot_be_read_is_unknown(answer: bytes) -> None:
    peer = Peer()
    peer.answers(200, answer)

    with pytest.raises(base.Unavailable):
        lava_top(peer.origin).get_subscription("s")
    peer.stop()


@pytest.mark.parametrize("key", ["", "ключ", "a\r\nX-Other: b"])
def test_key_that_no_header_can_hold_makes_no_call(lava: LavaTopEmulator, key: str) -> None:
    with pytest.raises(base.AuthError):
        lava_top(lava.base_url, api_key=key).create_subscription(offer_request())

    assert not lava.requests


def test_no_secret_and_no_person_is_shown(lava: LavaTopEmulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    adapter = lava_top(lava.base_url)
    subscription = adapter.create_subscription(offer_request()).provider_sub_id or ""
    lava.pay(subscription)
    adapter.cancel_subscription(subscription, email=BUYER)
    events = adapter.parse_webhook(*top_sent(TOP_PAID))
    shown = [repr(adapter._settings), repr(adapter), caplog.text, repr(events), *(str(event.raw) for event in events)]

    for text in shown:
        for secret in (API_KEY, WEBHOOK_KEY, BUYER):
            assert secret not in text
