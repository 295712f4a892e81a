"""What 2Checkout's tests share: settings, deliveries with what they hint at, a receiver, and how to start the emulator."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

from payflow.core import clock
from providers.base import LinkRequest, ProviderEvent, SubRequest
from providers.twocheckout.adapter import TwoCheckoutProvider
from tests.emulators.twocheckout import Order, TwoCheckoutEmulator

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "2checkout"
VENDOR = "250111206876"
SECRET_KEY = "Kq7#secret&key=2co"
OLD_SECRET_KEY = "old-Kq7-secret-key"
BUY_LINK_SECRET = "Nz#-Z*nb7U%word"
EMAIL = "anna@example.com"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

CONFIG: Mapping[str, Any] = {
    "adapter": "twocheckout",
    "base_url": "https://api.2checkout.com/rest/6.0",
    "link_url": "https://secure.2checkout.com",
    "merchant_code": VENDOR,
    "secret_key": SECRET_KEY,
    "previous_secret_key": "",
    "buy_link_secret": BUY_LINK_SECRET,
    "timezone": "Europe/Bucharest",
    "answer_seconds": 2,
}


def provider(**changes: Any) -> TwoCheckoutProvider:
    return TwoCheckoutProvider("2checkout", {**CONFIG, **changes})


def provider_at(tco: TwoCheckoutEmulator, **changes: Any) -> TwoCheckoutProvider:
    """The adapter, configured for an emulator. A new one each time: its breaker is its own."""
    return TwoCheckoutProvider("2checkout", {**CONFIG, "base_url": tco.base_url, "link_url": tco.origin, **changes})


def emulator(**changes: Any) -> TwoCheckoutEmulator:
    values: dict[str, Any] = {"secret_key": SECRET_KEY, "buy_link_secret": BUY_LINK_SECRET, "retry_pauses": ()}
    return TwoCheckoutEmulator(**{**values, **changes})


# --- requests ----------------------------------------------------------------------------------------------------------


def sub_request(**changes: Any) -> SubRequest:
    values: dict[str, Any] = {
        "user_ref": "user_123",
        "plan_ref": "premium",
        "provider_plan_ref": None,
        "order_ref": "ord_1",
        "amount": Decimal("9.99"),
        "currency": "USD",
        "interval": (1, "monthly"),
        "trial_days": 0,
        "email": EMAIL,
        "success_url": "https://app.example.com/success?a=1",
        "fail_url": "https://app.example.com/cancel",
        "cancel_url": "https://app.example.com/cancel",
        "hook_url": "https://pay.example.com/webhooks/2checkout",
        "idempotency_key": "checkout:1",
        "metadata": {"plan_name": "Premium; für alle"},
    }
    return SubRequest(**{**values, **changes})


def link_request(**changes: Any) -> LinkRequest:
    values: dict[str, Any] = {
        "user_ref": "user_123",
        "plan_ref": "premium",
        "order_ref": "inv_1",
        "amount": Decimal("4.50"),
        "currency": "EUR",
        "email": EMAIL,
        "success_url": "https://app.example.com/success",
        "fail_url": "https://app.example.com/cancel",
        "cancel_url": "https://app.example.com/cancel",
        "hook_url": "https://pay.example.com/webhooks/2checkout",
        "idempotency_key": "invoice:1",
    }
    return LinkRequest(**{**values, **changes})


def bought(tco: TwoCheckoutEmulator, outcome: str = "pay", **changes: Any) -> Order:
    """A subscription, bought at the link that the adapter made."""
    link = provider_at(tco, **changes.pop("config", {})).create_subscription(sub_request(**changes)).checkout_url
    assert link is not None
    before = set(tco.orders)
    status, location = click(link, outcome)
    assert status == 303 and location is not None
    [ref] = set(tco.orders) - before
    return tco.orders[ref]


def lived(tco: TwoCheckoutEmulator) -> str:
    """Bought, renewed, partly refunded, cancelled by the buyer, ended."""
    order = bought(tco)
    ref = order.subscription or ""
    tco.advance(tco.subscription(ref).expires_at - tco.now() + timedelta(hours=1))
    tco.refund(order.ref, Decimal("3.00"))
    tco.change(ref, recurring=False)
    tco.advance(tco.subscription(ref).expires_at - tco.now() + timedelta(hours=1))
    return ref


def click(url: str, outcome: str) -> tuple[int, str | None]:
    parts = urlsplit(url)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answered, _ = call(
        url, "POST", f"{parts.path}?{parts.query}", urlencode({"outcome": outcome}).encode(), headers
    )
    return status, answered.get("location")


def call(
    url: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def control(tco: TwoCheckoutEmulator, path: str, body: object = None) -> tuple[int, Any]:
    status, _, answer = call(tco.origin, "POST", f"/control/{path}", json.dumps(body or {}).encode())
    return status, json.loads(answer)


# --- deliveries --------------------------------------------------------------------------------------------------------

IPN: Mapping[str, str] = {
    "SALEDATE": "2026-01-31 10:00:00",
    "PAYMENTDATE": "2026-01-31 10:00:05",
    "REFNO": "211153389",
    "REFNOEXT": "ord_1",
    "SHOPPER_REFERENCE_NUMBER": "",
    "ORDERSTATUS": "COMPLETE",
    "FIRSTNAME": "Anna",
    "LASTNAME": "Ünal",
    "CUSTOMEREMAIL": EMAIL,
    "COMPLETE_DATE": "2026-01-31 10:00:10",
    "TIMEZONE_OFFSET": "GMT+02:00",
    "CURRENCY": "USD",
    "IPN_PID[]": "40898000",
    "IPN_PNAME[]": "Premium",
    "IPN_PCODE[]": "",
    "MESSAGE_ID": "254498854202",
    "MESSAGE_TYPE": "COMPLETE",
    "IPN_LICENSE_TYPE[]": "REGULAR",
    "IPN_LICENSE_REF[]": "XRILXB9ZI3",
    "IPN_LICENSE_EXP[]": "2026-02-28 10:00:05",
    "IPN_LICENSE_START[]": "2026-01-31 10:00:05",
    "IPN_TOTALGENERAL": "9.99",
    "EXTERNAL_CUSTOMER_REFERENCE": "user_123",
    "CHARGEBACK_RESOLUTION": "NONE",
    "CHARGEBACK_REASON_CODE": "",
    "TEST_ORDER": "0",
    "IPN_DATE": "20260131100015",
}
LCN: Mapping[str, str] = {
    "FIRST_NAME": "Anna",
    "COMPANY": "",
    "EMAIL": EMAIL,
    "LICENSE_CODE": "XRILXB9ZI3",
    "EXPIRATION_DATE": "2026-02-28 10:00:05",
    "DATE_UPDATED": "2026-02-01 12:00:00",
    "EXTERNAL_CUSTOMER_REFERENCE": "user_123",
    "TEST": "0",
    "CHANGED_BY": "SYSTEM",
    "LICENSE_TYPE": "REGULAR",
    "DISABLED": "0",
    "RECURRING": "1",
    "LICENSE_PRODUCT": "40898000",
    "STATUS": "ACTIVE",
    "DISPATCH_REASON": "LICENCE_CHANGE",
}


def ipn(**changes: Any) -> bytes:
    """A signed IPN with other fields; `...` takes one away."""
    return form(with_changes(IPN, changes))


def lcn(**changes: Any) -> bytes:
    return form(with_changes(LCN, changes))


def with_changes(fields: Mapping[str, str], changes: Mapping[str, Any]) -> list[tuple[str, str]]:
    named = {f"{name}[]" if f"{name}[]" in fields else name: value for name, value in changes.items()}
    return [(name, value) for name, value in {**fields, **named}.items() if value is not ...]


def form(
    fields: Sequence[tuple[str, str]], secret: str = SECRET_KEY, algorithms: Sequence[str] = ("sha256", "sha3_256")
) -> bytes:
    """The fields of a delivery, signed as 2Checkout's document says."""
    names = {"md5": "HASH", "sha256": "SIGNATURE_SHA2_256", "sha3_256": "SIGNATURE_SHA3_256"}
    source = "".join(f"{len(value.encode())}{value}" for _, value in fields).encode()
    signed = [(names[a], hmac.new(secret.encode(), source, getattr(hashlib, a)).hexdigest()) for a in algorithms]
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in [*fields, *signed]).encode()


def fields_of(raw: bytes) -> list[tuple[str, str]]:
    return parse_qsl(raw.decode(), keep_blank_values=True)


def hinted(raw: bytes, **changes: Any) -> list[ProviderEvent]:
    return provider(**changes).parse_webhook({}, raw)


# --- the receiver of deliveries ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    key: str
    raw: bytes
    hints: list[ProviderEvent]


class Receiver:
    """Takes deliveries as PayFlow does: proof, key, receipt; and keeps what they hint at, to be confirmed later."""

    def __init__(self, tco: TwoCheckoutProvider) -> None:
        self.adapter = tco
        self.told: queue.Queue[Told] = queue.Queue()
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.adapter.verify_webhook(headers, raw, clock.wall())
                key = receiver.adapter.delivery_key(headers, raw)
                receiver.told.put(Told(key, raw, receiver.adapter.parse_webhook(headers, raw)))
                answer = receiver.adapter.webhook_response(headers, raw, clock.wall())
                status = receiver.answers.pop(0) if receiver.answers else answer.status
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.hook_url = f"http://127.0.0.1:{self._server.server_address[1]}/webhooks/2checkout"

    def all(self) -> list[Told]:
        found = []
        while not self.told.empty():
            found.append(self.told.get())
        return found

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def money_keys(events: Sequence[ProviderEvent]) -> set[tuple[str, str, str]]:
    """(type, money key, amount) of every movement of money."""
    return {
        (event.type.value, event.provider_payment_id, str(event.amount))
        for event in events
        if event.type.value.startswith("payment.") and event.provider_payment_id is not None
    }


def days(count: float) -> timedelta:
    return timedelta(days=count)
