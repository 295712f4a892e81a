"""Stripe over HTTP: its API with keys and idempotency, the payer's page, and /control; and the server that is started."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.emulators.stripe.api import Api
from tests.emulators.stripe.billing import Billing
from tests.emulators.stripe.checkout import Checkout
from tests.emulators.stripe.deliveries import Deliveries
from tests.emulators.stripe.payments import Payments
from tests.emulators.stripe.store import CURRENT, Store
from tests.emulators.stripe.wire import Json, Refusal, dump, read_form

MAX_BODY = 256 * 1024
FAULTS = ("timeout", "timeout_after", "500", "500_after", "429", "503")


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class _Fault:
    name: str
    path: str
    times: int
    seconds: float


class StripeEmulator:
    """Stripe and its server. The parts (`payments`, `billing`, `checkout`) are used under `store.lock`, or by `do`."""

    def __init__(
        self,
        *,
        secret_key: str,
        webhook_secret: str,
        hook_url: str = "",
        port: int = 0,
        livemode: bool = False,
        api_version: str = CURRENT,
        retry_pauses: tuple[float, ...] = (),
        enabled_events: frozenset[str] = frozenset(),
    ) -> None:
        if not (secret_key and webhook_secret):
            raise ValueError("the emulator needs a secret key and a webhook secret")
        self.secret_key = secret_key
        self.deliveries = Deliveries(
            secrets=[webhook_secret], hook_url=hook_url, retry_pauses=retry_pauses, enabled_events=enabled_events
        )
        self.store = Store(livemode=livemode, api_version=api_version, deliveries=self.deliveries)
        self.payments = Payments(self.store)
        self.billing = Billing(self.store, self.payments)
        #: The last requests to /v1, newest last.
        self.requests: deque[Received] = deque(maxlen=1000)
        self.stopping = threading.Event()
        self._keys: dict[str, tuple[str, int, bytes] | None] = {}
        self._fault: _Fault | None = None
        self._thread: threading.Thread | None = None
        self._server = _Server(("127.0.0.1", port), self)
        self.checkout = Checkout(self.store, self.payments, self.billing, self.origin)
        self.api = Api(self.store, self.payments, self.billing, self.checkout)

    def __repr__(self) -> str:
        return f"<StripeEmulator {self.origin}>"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> StripeEmulator:
        self.deliveries.start()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()
        self.deliveries.stop()

    def __enter__(self) -> StripeEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what a test wishes

    def do(self, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.store.lock:
            return act(*args, **kwargs)

    def fail(self, fault: str | None, *, path: str = "/v1/", times: int = 1, seconds: float = 30.0) -> None:
        """The next calls to addresses beginning with `path` fail; *_after: once it is done."""
        if fault is not None and fault not in FAULTS:
            raise Refusal(400, f"fault is null or one of {', '.join(FAULTS)}")
        with self.store.lock:
            self._fault = _Fault(fault, path, times, seconds) if fault and times > 0 else None

    def take_fault(self, path: str) -> _Fault | None:
        with self.store.lock:
            fault = self._fault
            if fault is None or not path.startswith(fault.path):
                return None
            fault.times -= 1
            if fault.times <= 0:
                self._fault = None
            return fault

    def shown(self) -> Json:
        with self.store.lock:
            return {
                "objects": list(self.store.objects.values()),
                "events": self.store.events,
                "deliveries": [delivery.shown() for delivery in self.deliveries.sent],
            }

    def forget_keys(self) -> None:
        """Stripe keeps them for 24 hours."""
        with self.store.lock:
            self._keys.clear()

    # --- idempotency

    def once(self, key: str, request: str, act: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes, bool]:
        """The first outcome of a key, its status too. Raises Refusal for another request or one under way."""
        with self.store.lock:
            if key in self._keys:
                known = self._keys[key]
                if known is None:
                    raise Refusal(409, "There is currently another in-progress request", code="idempotency_key_in_use")
                if known[0] != request:
                    message = "Keys for idempotent requests can only be used with the same parameters"
                    raise Refusal(400, message, type="idempotency_error")
                return known[1], known[2], True
            self._keys[key] = None
        status, body = act()
        with self.store.lock:
            if status in (401, 409, 429):  # nothing was begun
                del self._keys[key]
            else:
                self._keys[key] = (request, status, body)
        return status, body, False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], stripe: StripeEmulator) -> None:
        self.stripe = stripe
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up is not worth a traceback; our own mistake is."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_DELETE(self) -> None:
        self._route()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The emulator's own time: it may have been advanced."""
        return formatdate(self.server.stripe.store.now() if timestamp is None else timestamp, usegmt=True)

    # --- routes

    def _route(self) -> None:
        self.close_connection = True
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY))
        path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        try:
            if path[0] == "v1":
                self._api(path[1:], body)
            elif path[0] == "pay" and len(path) == 2:
                self._page(path[1], body)
            elif path[0] == "control":
                self._json(200, self._control(path[1:], json.loads(body or b"{}")))
            else:
                raise Refusal(404, "no such address")
        except Refusal as refusal:
            self._json(refusal.status, {"error": refusal.fields})
        except (ValueError, KeyError, OverflowError) as error:
            self._json(
                400, {"error": {"type": "invalid_request_error", "message": f"unreadable: {type(error).__name__}"}}
            )

    def _api(self, path: list[str], body: bytes) -> None:
        stripe = self.server.stripe
        headers = {name.lower(): value for name, value in self.headers.items()}
        stripe.requests.append(Received(self.command, self.path, headers, body))
        given = headers.get("authorization", "").encode("utf-8", "backslashreplace")
        if not hmac.compare_digest(given, f"Bearer {stripe.secret_key}".encode()):
            raise Refusal(401, f"Invalid API Key provided: {headers.get('authorization', '')[-4:]}")
        fault = stripe.take_fault(urlsplit(self.path).path)
        if fault and fault.name == "timeout":
            return self._silence(fault.seconds)
        if fault and fault.name == "429":
            raise Refusal(429, "Too many requests", code="rate_limit")
        if fault and fault.name in ("500", "503"):
            raise Refusal(int(fault.name), "An unknown error occurred", type="api_error")
        text = body.decode() if self.command == "POST" else urlsplit(self.path).query
        params = read_form(text)

        def act() -> tuple[int, bytes]:
            with stripe.store.lock:
                try:
                    return 200, dump(stripe.api.answer(self.command, path, params))
                except Refusal as refusal:
                    return refusal.status, dump({"error": refusal.fields})

        key, replayed = headers.get("idempotency-key"), False
        if self.command == "POST" and key:
            digest = hashlib.sha256(f"{urlsplit(self.path).path} {text}".encode()).hexdigest()
            status, answer, replayed = stripe.once(key, digest, act)
        else:
            status, answer = act()
        if fault and fault.name == "timeout_after":
            return self._silence(fault.seconds)
        if fault and fault.name == "500_after":
            raise Refusal(500, "An unknown error occurred", type="api_error")
        return self._write(status, "application/json", answer, {"Idempotent-Replayed": "true"} if replayed else {})

    def _page(self, session_id: str, body: bytes) -> None:
        stripe = self.server.stripe
        if self.command == "GET":
            with stripe.store.lock:
                session = stripe.store.get("checkout.session", session_id)
                page = _html(session)
            return self._write(200, "text/html; charset=utf-8", page.encode(), {})
        form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        url = stripe.do(stripe.checkout.answer, session_id, form.get("outcome", ""), form.get("card", "ok"))
        return self._write(303, "text/plain", b"", {"Location": url.replace("\r", "").replace("\n", "")})

    def _control(self, path: list[str], wish: Json) -> Any:
        stripe = self.server.stripe
        payments, billing, deliveries = stripe.payments, stripe.billing, stripe.deliveries
        match path:
            case ["state"]:
                return stripe.shown()
            case ["prices"]:
                return stripe.do(billing.price, **wish)
            case ["clock"]:
                return stripe.do(billing.advance, int(wish.get("advance_seconds", 0)))
            case ["payment_methods", id_]:
                return stripe.do(payments.set_behaviour, id_, str(wish.get("behaviour")))
            case ["payments", id_, "refund"]:
                amount = {"amount": str(wish["amount"])} if "amount" in wish else {}
                return stripe.do(payments.refund, {"payment_intent": id_, **amount})
            case ["payments", id_, "dispute"]:
                return stripe.do(payments.dispute, id_)
            case ["payments", id_, "settle"]:
                return stripe.do(payments.settle, id_, str(wish.get("outcome", "succeeded")))
            case ["refunds", id_, "fail"]:
                return stripe.do(payments.finish_refund, id_, failed=True)
            case ["disputes", id_, "close"]:
                return stripe.do(payments.close_dispute, id_, str(wish.get("status")))
            case ["subscriptions", id_, "cancel"]:
                return stripe.do(billing.cancel, id_, at_period_end=not wish.get("now", False))
            case ["faults"]:
                times, seconds = int(wish.get("times", 1)), float(wish.get("seconds", 30))
                return stripe.fail(wish.get("fault"), path=str(wish.get("path", "/v1/")), times=times, seconds=seconds)
            case ["deliveries"]:
                return self._order(str(wish.get("order")))
            case ["repeat"]:
                return deliveries.repeat(str(wish.get("event"))).shown()
            case ["webhook"]:
                deliveries.hook_url, deliveries.secrets = str(wish["url"]), list(map(str, wish["secrets"]))
                return None
        raise Refusal(404, "no such address")

    def _order(self, order: str) -> Any:
        deliveries = self.server.stripe.deliveries
        if order == "hold":
            return deliveries.hold()
        if order in ("release", "reverse"):
            return [delivery.shown() for delivery in deliveries.release(reverse=order == "reverse")]
        raise Refusal(400, "order is hold, release or reverse")

    # --- the wire

    def _silence(self, seconds: float) -> None:
        """No answer: the caller waits, then the line is cut."""
        self.server.stripe.stopping.wait(seconds)
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, value: Any) -> None:
        self._write(status, "application/json", dump(value), {"Retry-After": "7"} if status == 429 else {})

    def _write(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        common = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Request-Id": f"req_{secrets.token_hex(7)}",
        }
        for name, value in {**common, **headers}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _html(session: Json) -> str:
    buttons = "".join(
        f'<button name="outcome" value="{value}">{label}</button> '
        for value, label in (("pay", "Pay"), ("decline", "Decline"), ("abandon", "Go back"))
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Stripe (emulator)</title>'
        f"<h1>Stripe (emulator)</h1><p>{escape(str(session['mode']))}: "
        f"<b>{escape(str(session['amount_total']))} {escape(str(session['currency']))}</b></p>"
        f'<p>Status: {escape(session["status"])}</p><form method="post">'
        f"{buttons if session['status'] == 'open' else ''}</form></html>"
    )
