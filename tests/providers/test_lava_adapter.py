"""Lava's adapter against real HTTP: the emulator, and a bare server that answers whatever a test wants."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from providers import base
from providers.base import Caps, LinkRequest, SubRequest, SubResult
from providers.lava.adapter import LavaProvider
from providers.registry import adapter_class
from tests.emulators.lava import LavaEmulator

API_KEY = "key-7f3a1c-api"
SECRET_KEY = "secret-91be44-webhook"

#: "Create Payment" of the architecture document, word for word.
DOCUMENT_BODY = """
{
  "sum": 6.99,
  "order_id": "sub_xxx",
  "hook_url": "https://audiolearn.com/webhooks/lava",
  "success_url": "https://audiolearn.com/success",
  "fail_url": "https://audiolearn.com/cancel",
  "expire": 300,
  "custom_fields": {
    "user_id": "user_123",
    "plan_id": "premium"
  }
}
"""
DOCUMENT_BYTES = json.dumps(json.loads(DOCUMENT_BODY), separators=(",", ":")).encode()

URLS = {
    "success_url": "https://audiolearn.com/success",
    "fail_url": "https://audiolearn.com/cancel",
    "cancel_url": "https://audiolearn.com/never-used",
    "hook_url": "https://audiolearn.com/webhooks/lava",
}


def sub_request(**changes: Any) -> SubRequest:
    values: dict[str, Any] = {
        "user_ref": "user_123",
        "plan_ref": "premium",
        "provider_plan_ref": None,
        "order_ref": "xxx",
        "amount": Decimal("6.99"),
        "currency": "USD",
        "interval": (1, "monthly"),
        "trial_days": 0,
        "email": "anna@example.com",
        "idempotency_key": "checkout:1",
        **URLS,
    }
    return SubRequest(**{**values, **changes})


def link_request(**changes: Any) -> LinkRequest:
    values: dict[str, Any] = {
        "user_ref": "user_123",
        "plan_ref": "premium",
        "order_ref": "xxx",
        "amount": Decimal("6.99"),
        "currency": "USD",
        "email": "anna@example.com",
        "idempotency_key": "invoice:1",
        **URLS,
    }
    return LinkRequest(**{**values, **changes})


@cache
def provider(base_url: str, **changes: Any) -> LavaProvider:
    """Kept, for its TLS context costs more than a test."""
    config = {
        "base_url": base_url,
        "api_key": API_KEY,
        "secret_key": SECRET_KEY,
        "previous_secret_key": "",
        "currency": "USD",
        "answer_seconds": 2,
    }
    return LavaProvider("lava", {**config, **changes})


class Peer:
    """A server that keeps the bytes of each request and gives one prepared answer, then cuts the line."""

    def __init__(self) -> None:
        self.answer = b""
        self.received: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def answers(self, status: int, body: object = b"", **headers: str) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(payload)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.answer = "\r\n".join([*lines, "", ""]).encode() + payload

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            with line:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += line.recv(65536)
                head, _, body = data.partition(b"\r\n\r\n")
                lengths = [h.split(b":")[1] for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")]
                while len(body) < int(lengths[0] if lengths else 0):
                    body += line.recv(65536)
                self.received.append(head + b"\r\n\r\n" + body)
                try:
                    line.sendall(self.answer)
                except OSError:  # the client has read enough
                    pass


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


@pytest.mark.parametrize("kind", ["subscription", "link"])
def test_request_on_the_wire_is_the_documents(emulator: LavaEmulator, kind: str) -> None:
    lava = provider(emulator.base_url)
    if kind == "subscription":
        result = lava.create_subscription(sub_request())
    else:
        result = lava.create_payment_link(link_request())

    [request] = emulator.requests
    assert (request.method, request.path) == ("POST", "/v1/invoice/create")
    assert request.headers["authorization"] == f"Bearer {API_KEY}"
    assert request.headers["content-type"] == "application/json"
    assert "cookie" not in request.headers
    assert request.body == DOCUMENT_BYTES
    assert result.provider_sub_id is None
    assert result.status == "pending"
    assert result.checkout_url is not None
    assert result.checkout_url.startswith(f"{emulator.origin}/pay/")


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
        {"invoice_id": "inv_1", "url": " https://pay.lava.example/i/1"},
        {"invoice_id": "inv_1", "url": "https://pay.lava.example\\@evil.example/"},
        {"invoice_id": "inv_1", "url": 'https://pay.lava.example/"onload="x'},
    ],
)
def test_answer_without_an_invoice_or_a_page_for_browsers_is_an_error(peer: Peer, answer: object) -> None:
    peer.answers(200, answer)

    with pytest.raises(base.ProviderError) as raised:
        provider(peer.origin).create_subscription(sub_request())

    assert type(raised.value) is base.ProviderError


def test_endless_answer_is_cut(peer: Peer) -> None:
    peer.answers(200, b" " * (2 * 1024 * 1024 + 1))

    with pytest.raises(base.ProviderError):
        provider(peer.origin).create_subscription(sub_request())


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
        (402, base.ProviderError),
        (405, base.ProviderError),
        (418, base.ProviderError),
        (301, base.ProviderError),
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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(peer: Peer, status: int) -> None:
    other = Peer()
    peer.answers(status, b"", Location=f"{other.origin}/invoice/create")

    with pytest.raises(base.ProviderError):
        provider(peer.origin).create_subscription(sub_request())

    other.stop()
    assert other.received == []


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


# --- capabilities ----------------------------------------------------------------------------------------------------


def test_capabilities_are_the_documents() -> None:
    assert provider("https://api.lava.top/v1").capabilities == Caps(
        create=True,
        hosted_checkout=True,
        payment_link=True,
        renewal_driver="provider",
        price_set_by="payflow",
        webhooks_signed=True,
    )


NOT_SUPPORTED = {
    "attach_purchase": {"user_ref": "u", "token": "t"},
    "charge": {"request": base.ChargeRequest("pm", "cus", Decimal(1), "USD", "key")},
    "find_payment": {"idempotency_key": "key", "created_at": datetime(2026, 1, 1, tzinfo=UTC)},
    "refund": {
        "provider_txn_id": "inv_1",
        "amount": None,
        "currency": "USD",
        "reason": "asked",
        "idempotency_key": "key",
    },
    "get_subscription": {"provider_sub_id": "s"},
    "cancel_subscription": {"provider_sub_id": "s"},
    "resume_subscription": {"provider_sub_id": "s"},
    "pause_subscription": {"provider_sub_id": "s"},
    "change_subscription": {"provider_sub_id": "s", "plan_ref": "pro"},
}


@pytest.mark.parametrize("method", NOT_SUPPORTED)
def test_what_the_document_does_not_offer_is_refused_without_a_call(emulator: LavaEmulator, method: str) -> None:
    with pytest.raises(base.NotSupported):
        getattr(provider(emulator.base_url), method)(**NOT_SUPPORTED[method])

    assert not emulator.requests


def test_there_is_no_page_to_manage_a_subscription_at() -> None:
    assert provider("https://api.lava.top/v1").manage_url("s") is None


def test_only_the_configured_currency_is_sold() -> None:
    lava = provider("https://api.lava.top/v1", currency="RUB")

    assert lava.supports_currency("RUB")
    assert not lava.supports_currency("USD")


def test_currency_is_dollars_by_default() -> None:
    assert provider("https://api.lava.top/v1", currency=None).supports_currency("USD")


def test_the_registry_knows_the_adapter() -> None:
    assert adapter_class("lava") is LavaProvider


# --- settings --------------------------------------------------------------------------------------------------------

REAL = "https://gate.lava.example/v1"


def faults(*, debug: bool = False, **changes: Any) -> list[tuple[str, str]]:
    found = provider(changes.pop("base_url", REAL), **changes).config_faults(debug=debug)
    return [(fault.level, f"{fault.message} {fault.hint}") for fault in found]


def test_good_settings_have_no_faults() -> None:
    assert faults() == []


@pytest.mark.parametrize("empty", ["", None, "  "])
@pytest.mark.parametrize(("key", "variable"), [("api_key", "LAVA_API_KEY"), ("secret_key", "LAVA_SECRET_KEY")])
def test_missing_key_is_an_error_that_names_its_variable(key: str, variable: str, empty: str | None) -> None:
    [(level, text)] = faults(**{key: empty})

    assert level == "error"
    assert variable in text


def test_all_faults_are_told_at_once() -> None:
    found = LavaProvider("lava", {"currency": "XXX"}).config_faults(debug=True)

    assert [fault.level for fault in found] == ["error"] * 4
    text = " ".join(fault.hint for fault in found)
    for variable in ("LAVA_API_KEY", "LAVA_SECRET_KEY", "LAVA_BASE_URL", "LAVA_CURRENCY"):
        assert variable in text


@pytest.mark.parametrize(
    ("base_url", "debug", "level"),
    [
        ("", True, "error"),
        (None, False, "error"),
        ("api.lava.top/v1", True, "error"),
        ("ftp://gate.lava.example", True, "error"),
        ("https://", True, "error"),
        ("https://gate.lava.example:port/", True, "error"),
        ("https://user:word@gate.lava.example/", True, "error"),
        ("https://gate.lava.example/v1?x=1", True, "error"),
        ("http://gate.lava.example/v1", True, "error"),
        ("http://127.0.0.1.evil.example/v1", True, "error"),
        ("http://10.0.0.1/v1", True, "error"),
        ("http://gate.lava.example/v1", False, "error"),
        ("http://127.0.0.1:8801/v1", False, "error"),
        ("http://localhost:8801/v1", False, "error"),
        ("http://127.0.0.1:8801/v1", True, None),
        ("http://[::1]:8801/v1", True, None),
        ("http://localhost:8801/v1", True, None),
        ("https://api.lava.top/v1", False, "warning"),
        ("https://API.LAVA.TOP/v1/", True, "warning"),
        (REAL, False, None),
    ],
)
def test_base_url(base_url: str | None, debug: bool, level: str | None) -> None:
    found = faults(base_url=base_url, debug=debug)

    assert [fault[0] for fault in found] == ([level] if level else [])


def test_api_key_that_is_no_header_is_an_error() -> None:
    [(level, text)] = faults(api_key="ключ")

    assert level == "error"
    assert "ключ" not in text


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_and_no_person_is_shown(emulator: LavaEmulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lava = provider(emulator.base_url, previous_secret_key="secret-old-5d5d")
    lava.create_subscription(sub_request())
    lava.create_payment_link(link_request())

    shown = [repr(lava), str(lava), repr(lava._settings), repr(lava.config_faults(debug=False)), caplog.text]

    for text in shown:
        for secret in (API_KEY, SECRET_KEY, "secret-old-5d5d", "anna@example.com", "user_123"):
            assert secret not in text
