"""What Lava's tests share: requests and settings, servers on both ends of the wire, calls of the emulator, a webhook."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import queue
import socket
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from providers.base import LinkRequest, ProviderEvent, SubRequest
from providers.lava.adapter import LavaProvider
from tests.emulators.lava import LavaEmulator
from tests.emulators.lava.wire import Listening

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "vectors" / "lava" / "document_contract.json"
API_KEY = "key-7f3a1c-api"
SECRET_KEY = "secret-91be44-webhook"
OLD_SECRET_KEY = "secret-old-5d5d"

URLS = {
    "success_url": "https://audiolearn.com/success",
    "fail_url": "https://audiolearn.com/cancel",
    "cancel_url": "https://audiolearn.com/never-used",
    "hook_url": "https://audiolearn.com/webhooks/lava",
}

#: "Webhook from Lava" of the architecture document, its custom fields filled in.
BODY = {
    "invoice_id": "inv_1",
    "order_id": "sub_xxx",
    "status": "success",
    "pay_time": "2024-10-23T12:00:00Z",
    "amount": 6.99,
    "custom_fields": {"user_id": "user_123", "plan_id": "premium"},
}
RAW = json.dumps(BODY).encode()


# --- the adapter and whom it calls -------------------------------------------------------------------------------------


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


def provider(base_url: str, **changes: Any) -> LavaProvider:
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


# --- the emulator and whom it calls ------------------------------------------------------------------------------------


class Shop:
    """The receiver of webhooks: answers what a test wants and keeps what came."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.received: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                shop.received.put(({k.lower(): v for k, v in self.headers.items()}, body))
                status = shop.answers.pop(0) if shop.answers else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.hook_url = f"http://127.0.0.1:{self._server.server_address[1]}/webhooks/lava"

    def take(self) -> tuple[dict[str, str], bytes]:
        return self.received.get(timeout=5)

    def bodies(self) -> list[dict[str, Any]]:
        found = []
        while not self.received.empty():
            found.append(json.loads(self.received.get()[1]))
        return found

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def call(
    url: str, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def control(lava: Listening, path: str, body: object = None) -> tuple[int, Any]:
    status, _, answer = call(lava.origin, "POST", f"/control/{path}", json.dumps(body or {}).encode())
    return status, json.loads(answer)


def click(lava: Listening, url: str, **form: str) -> tuple[int, str | None]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answered, _ = call(lava.origin, "POST", urlsplit(url).path, urlencode(form).encode(), **headers)
    return status, answered.get("location")


def create(lava: LavaEmulator, shop: Shop, **changes: Any) -> dict[str, Any]:
    """An invoice, the way a shop makes it."""
    order = {
        "sum": 6.99,
        "order_id": "sub_1",
        "hook_url": shop.hook_url,
        "success_url": "http://127.0.0.1/success?a=1",
        "fail_url": "http://127.0.0.1/cancel",
        "expire": 300,
        "custom_fields": {"user_id": "user_123", "plan_id": "про"},
        **changes,
    }
    order = {key: value for key, value in order.items() if value is not ...}
    status, _, answer = post_create(lava, json.dumps(order).encode())
    return {"http_status": status, **json.loads(answer)}


def post_create(lava: LavaEmulator, body: bytes, key: str = API_KEY) -> tuple[int, dict[str, str], bytes]:
    return call(lava.origin, "POST", "/v1/invoice/create", body, Authorization=f"Bearer {key}")


# --- a webhook ---------------------------------------------------------------------------------------------------------


def lava(**changes: Any) -> LavaProvider:
    config = {"base_url": "https://api.lava.top/v1", "api_key": "k", "secret_key": SECRET_KEY, "currency": "USD"}
    return LavaProvider("lava", {**config, **changes})


def sign(raw: bytes, secret: str = SECRET_KEY) -> str:
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def signed(raw: bytes, secret: str = SECRET_KEY) -> dict[str, str]:
    return {"x-lava-signature": sign(raw, secret), "content-type": "application/json"}


def raw_with(**changes: Any) -> bytes:
    """The delivery with other fields; `...` takes one away."""
    return json.dumps({key: value for key, value in {**BODY, **changes}.items() if value is not ...}).encode()


def parsed(raw: bytes) -> list[ProviderEvent]:
    return lava().parse_webhook({}, raw)
