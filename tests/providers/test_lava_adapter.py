"""Lava's adapter against real HTTP: the emulator, and a bare server that answers whatever a test wants."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from providers import base
from providers.base import SubResult
from tests.emulators.lava import LavaEmulator
from tests.providers.lava_support import API_KEY, SECRET_KEY, Peer, provider, sub_request


@pytest.fixture(scope="module")
def listening() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.stop()


@pytest.fixture
def peer(listening: Peer) -> Peer:
    listening.received.clear()
    return listening


@pytest.fixture(scope="module")
def running() -> Iterator[LavaEmulator]:
    with LavaEmulator(api_key=API_KEY, secret_key=SECRET_KEY, retry_pauses=()) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: LavaEmulator) -> LavaEmulator:
    running.requests.clear()
    running.fail_creates(None)
    return running


# --- the request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "wire"),
    [
        ("6.9", "USD", b'"sum":6.90,'),
        ("990", "RUB", b'"sum":990.00,'),
        ("990.0000", "RUB", b'"sum":990.00,'),
        ("1200", "JPY", b'"sum":1200,'),
        ("1200.00", "JPY", b'"sum":1200,'),
        ("1.234", "KWD", b'"sum":1.234,'),
        ("0.1", "USD", b'"sum":0.10,'),
        ("123456789012345.67", "USD", b'"sum":123456789012345.67,'),
    ],
)
def test_sum_has_the_currencys_digits_and_no_float(
    emulator: LavaEmulator, amount: str, currency: str, wire: bytes
) -> None:
    provider(emulator.base_url, currency=currency).create_subscription(
        sub_request(amount=Decimal(amount), currency=currency)
    )

    assert emulator.requests[-1].body.startswith(b"{" + wire)


def test_text_of_any_alphabet_and_quotes_reaches_lava_unchanged(emulator: LavaEmulator) -> None:
    provider(emulator.base_url).create_subscription(sub_request(user_ref='Анна "ü" \\', plan_ref="про"))

    assert json.loads(emulator.requests[-1].body)["custom_fields"] == {"user_id": 'Анна "ü" \\', "plan_id": "про"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"currency": "EUR"}, base.CurrencyRefused),
        ({"amount": Decimal(0)}, base.RequestRefused),
        ({"amount": Decimal("-6.99")}, base.RequestRefused),
        ({"amount": Decimal("6.999")}, ValueError),
    ],
)
def test_what_cannot_be_sold_is_refused_before_any_call(
    emulator: LavaEmulator, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        provider(emulator.base_url).create_subscription(sub_request(**changes))

    assert not emulator.requests


@pytest.mark.parametrize("key", ["", "ключ", "a\r\nX-Other: b"])
def test_key_that_no_header_can_hold_makes_no_call(emulator: LavaEmulator, key: str) -> None:
    with pytest.raises(base.AuthError):
        provider(emulator.base_url, api_key=key).create_subscription(sub_request())

    assert not emulator.requests


# --- the answer ------------------------------------------------------------------------------------------------------

PAGE = "https://pay.lava.example/i/1"


@pytest.mark.parametrize(
    "answer",
    [
        {"invoice_id": "inv_1", "url": PAGE},
        {"id": "inv_1", "payment_url": PAGE},
        {"id": 17, "paymentUrl": PAGE},
        {"data": {"id": "inv_1", "url": PAGE}, "status": 200, "status_check": True},
        {"data": {"invoice_id": "inv_1"}, "url": PAGE},
        {"invoice_id": "inv_1", "url": "", "data": {"url": PAGE}},
        {"invoice_id": "inv_1", "url": PAGE, "more": [1.5, None, {"deep": True}]},
    ],
)
def test_answers_of_every_known_shape_are_understood(peer: Peer, answer: object) -> None:
    peer.answers(200, answer)

    assert provider(peer.origin).create_subscription(sub_request()) == SubResult(None, PAGE, "pending")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>Welcome</html>",
        b"\xff\xfe",
        b"[" * 20000,
        b'{"sum": 1e99999999999999999999}',
        [],
        "invoice",
        {},
        {"invoice_id": "inv_1"},
        {"url": PAGE},
        {"data": None, "error": "Invoice not found", "status": 404, "status_check": False},
        {"invoice_id": True, "url": PAGE},
        {"invoice_id": "inv_1", "url": 5},
        {"invoice_id": "inv_1", "url": "javascript:alert(1)"},
        {"invoice_id": "inv_1", "url": "JavaScript://pay.lava.example/%0aalert(1)"},
        {"invoice_id": "inv_1", "url": "data:text/html,x"},
        {"invoice_id": "inv_1", "url": "java\nscript:alert(1)"},
        {"invoice_id": "inv_1", "url": "//pay.lava.example/i/1"},
        {"invoice_id": "inv_1", "url": "/i/1"},
        {"invoice_id": "inv_1", "url": "https://"},
        {"invoice_id": "inv_1", "url": "https://[broken/i/1"},
        {"invoice_id": "inv_1", "url": "https://pay.lava.example\\@evil.example/"},
        {"invoice_id": "inv_1", "url": 'https://pay.lava.example/"onload="x'},
    ],
)
def test_answer_without_an_invoice_or_a_page_for_browsers_is_an_error(peer: Peer, answer: object) -> None:
    peer.answers(200, answer)

    with pytest.raises(base.ProviderError) as raised:
        provider(peer.origin).create_subscription(sub_request())

    assert type(raised.value) is base.ProviderError


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, base.RequestRefused),
        (409, base.RequestRefused),
        (422, base.RequestRefused),
        (401, base.AuthError),
        (403, base.AuthError),
        (404, base.UnknownReference),
        (429, base.RateLimited),
        (408, base.Unavailable),
        (500, base.Unavailable),
        (502, base.Unavailable),
        (503, base.Unavailable),
        (504, base.Unavailable),
        (402, base.RequestRefused),
        (405, base.RequestRefused),
        (418, base.RequestRefused),
        (301, base.Unavailable),
    ],
)
def test_error_is_mapped_and_says_nothing_of_lavas_text(
    peer: Peer, status: int, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    peer.answers(status, {"error": f"leaked-text {API_KEY}", "invoice_id": "inv_1", "url": PAGE})

    with pytest.raises(base.ProviderError) as raised:
        provider(peer.origin).create_subscription(sub_request())

    assert type(raised.value) is error
    assert len(peer.received) == 1, "a POST without an idempotency key is never repeated by itself"
    for text in (str(raised.value), repr(raised.value), repr(raised.value.__cause__), caplog.text):
        assert "leaked-text" not in text
        assert API_KEY not in text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17), (" 0 ", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("9" * 5000, None), ("", None)],
)
def test_rate_limit_tells_how_long_to_wait(peer: Peer, header: str, seconds: int | None) -> None:
    peer.answers(429, b"", Retry_After=header)

    with pytest.raises(base.RateLimited) as raised:
        provider(peer.origin).create_subscription(sub_request())

    assert raised.value.retry_after == seconds


# --- no answer -------------------------------------------------------------------------------------------------------


def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(base.Unavailable):
        provider(f"http://127.0.0.1:{port}/v1").create_subscription(sub_request())


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", b"SSH-2.0-nonsense\r\n"])
def test_broken_answer_is_unavailable(peer: Peer, answer: bytes) -> None:
    peer.answer = answer

    with pytest.raises(base.Unavailable):
        provider(peer.origin).create_subscription(sub_request())

    assert len(peer.received) == 1


@pytest.mark.parametrize(("fault", "made"), [("timeout", 0), ("timeout_after", 1), ("500", 0)])
def test_lost_answer_is_unknown_and_the_resumed_call_names_the_same_order(
    emulator: LavaEmulator, fault: str, made: int
) -> None:
    lava, request = provider(emulator.base_url, answer_seconds=0.2), sub_request(order_ref=f"resumed-{fault}")
    emulator.fail_creates(fault, seconds=1)

    with pytest.raises(base.Unavailable):
        lava.create_subscription(request)
    assert len(emulator.requests) == 1, "the HTTP client must not try again by itself"
    orders = [invoice.order_id for invoice in emulator.invoices.values() if fault in invoice.order_id]
    assert orders == [f"sub_resumed-{fault}"] * made

    result = lava.create_subscription(request)

    assert result.checkout_url is not None
    assert emulator.requests[0].body == emulator.requests[1].body
