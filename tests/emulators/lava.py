"""A Lava to talk to: the architecture document's "Lava Integration Details" played over real HTTP, on loopback only.

    LAVA_API_KEY=… LAVA_SECRET_KEY=… python -m tests.emulators.lava --port 8801

or in a test: `with LavaEmulator(api_key=…, secret_key=…) as lava: lava.base_url`. It shares no code with the adapter,
so that a mistake of one is not the other's truth. Nothing is kept when it stops.

    POST /v1/invoice/create                 the document's request; every call makes a new invoice
    GET, POST /pay/<invoice_id>             the payer's page: outcome=pay|decline|abandon [amount, pay_time]
    POST /control/orders/<order_id>/renew   Lava charges again: {"outcome": "success"|"failed"} [amount, pay_time]
    POST /control/orders/<order_id>/repeat  the order's last webhook again, byte for byte
    POST /control/faults                    {"create": "timeout"|"timeout_after"|"500"|null, "times": n, "seconds": s}
    POST /control/deliveries                {"order": "hold"|"release"|"reverse"}: keep webhooks; send them (backwards)
    POST /control/clock                     {"ahead_seconds": s}: pay_time runs ahead of real time
    GET  /control/invoices                  everything that is known, secrets excepted
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import signal
import socket
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

MAX_BODY = 64 * 1024
HOOK_SECONDS = 10.0
#: Failing webhooks tried again in the background at one time; beyond it they are given up at once.
MAX_RETRYING = 16
CREATE_FIELDS = ("sum", "order_id", "hook_url", "success_url", "fail_url", "expire", "custom_fields")
FAULTS = ("timeout", "timeout_after", "500")


class Number(str):
    """A JSON number in its own digits: 6.90 stays 6.90."""

    __slots__ = ()


def dump(value: Any) -> str:
    """Compact JSON; a Number is written as it is."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(str(k), ensure_ascii=False)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def webhook_body(
    *, invoice_id: str, order_id: str, status: str, pay_time: str, amount: str, custom_fields: Mapping[str, Any]
) -> bytes:
    """The document's webhook, its fields in the document's order. A Number is sent as a number, a str as a string."""
    return dump(
        {
            "invoice_id": invoice_id,
            "order_id": order_id,
            "status": status,
            "pay_time": pay_time,
            "amount": amount,
            "custom_fields": custom_fields,
        }
    ).encode()


def signature(secret_key: str, body: bytes) -> str:
    return hmac.new(secret_key.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Invoice:
    invoice_id: str
    order_id: str
    sum: str
    hook_url: str
    success_url: str
    fail_url: str
    expire: str
    custom_fields: dict[str, Any]
    status: str = "created"
    renewal: bool = False


@dataclass
class Delivery:
    """One webhook. `attempts` are HTTP statuses, or what went wrong. state: held|sending|delivered|retrying|gave_up."""

    invoice_id: str
    order_id: str
    hook_url: str
    body: str
    signature: str
    state: str = "sending"
    attempts: list[int | str] = field(default_factory=list)

    @property
    def http_status(self) -> int | None:
        last = self.attempts[-1] if self.attempts else None
        return last if isinstance(last, int) else None

    def shown(self) -> dict[str, Any]:
        return {**asdict(self), "http_status": self.http_status}


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class LavaEmulator:
    """The whole of Lava in memory, and its server. Every method but `start` and `stop` is safe from any thread."""

    def __init__(
        self,
        *,
        api_key: str,
        secret_key: str,
        port: int = 0,
        retry_pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    ) -> None:
        if not (api_key and secret_key):
            raise ValueError("the emulator needs an API key and a secret key")
        self.api_key = api_key
        self.secret_key = secret_key
        self.retry_pauses = retry_pauses
        self.invoices: dict[str, Invoice] = {}
        self.deliveries: list[Delivery] = []
        #: The last requests to /v1, newest last.
        self.requests: deque[Received] = deque(maxlen=1000)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._retrying = threading.BoundedSemaphore(MAX_RETRYING)
        self._holding = False
        self._ahead = timedelta(0)
        self._fault: tuple[str, int, float] | None = None
        self._thread: threading.Thread | None = None
        self._server = _Server(("127.0.0.1", port), self)

    def __repr__(self) -> str:
        return f"<LavaEmulator {self.base_url}>"

    # --- its life

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def start(self) -> LavaEmulator:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()

    def __enter__(self) -> LavaEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what Lava does

    def create(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A new invoice. Raises Refusal(400) for a field that the document has not, or has otherwise."""
        _validate(request)
        invoice = Invoice(invoice_id=str(uuid.uuid4()), **{name: request[name] for name in CREATE_FIELDS})
        with self._lock:
            self.invoices[invoice.invoice_id] = invoice
        return {
            "invoice_id": invoice.invoice_id,
            "url": f"{self.origin}/pay/{invoice.invoice_id}",
            "order_id": invoice.order_id,
            "sum": invoice.sum,
            "status": invoice.status,
        }

    def pay(self, invoice_id: str, *, amount: str | None = None, pay_time: str | None = None) -> Delivery:
        return self._settle(self.invoice(invoice_id), "success", amount=amount, pay_time=pay_time)

    def decline(self, invoice_id: str, *, pay_time: str | None = None) -> Delivery:
        return self._settle(self.invoice(invoice_id), "failed", pay_time=pay_time)

    def renew(
        self, order_id: str, *, outcome: str = "success", amount: str | None = None, pay_time: str | None = None
    ) -> Delivery:
        """Lava's own charge: a new invoice for a paid order. Raises Refusal: 404 no such order, 409 never paid."""
        if outcome not in ("success", "failed"):
            raise Refusal(400, "outcome is success or failed")
        with self._lock:
            known = [invoice for invoice in self.invoices.values() if invoice.order_id == order_id]
            if not known:
                raise Refusal(404, "no such order")
            paid = [invoice for invoice in known if invoice.status == "success"]
            if not paid:
                raise Refusal(409, "the order was never paid")
            again = Invoice(
                **{**asdict(paid[-1]), "invoice_id": str(uuid.uuid4()), "status": "created", "renewal": True}
            )
            self.invoices[again.invoice_id] = again
        return self._settle(again, outcome, amount=amount, pay_time=pay_time)

    def repeat(self, order_id: str) -> Delivery:
        """The order's last webhook again, byte for byte. Raises Refusal(404)."""
        with self._lock:
            sent = [delivery for delivery in self.deliveries if delivery.order_id == order_id]
        if not sent:
            raise Refusal(404, "nothing was sent for this order")
        last = sent[-1]
        return self._deliver(Delivery(last.invoice_id, last.order_id, last.hook_url, last.body, last.signature))

    def invoice(self, invoice_id: str) -> Invoice:
        with self._lock:
            if invoice_id not in self.invoices:
                raise Refusal(404, "no such invoice")
            return self.invoices[invoice_id]

    # --- what a test wishes

    def fail_creates(self, fault: str | None, *, times: int = 1, seconds: float = 30.0) -> None:
        """The next creates answer 500, never answer, or are done without ever answering (timeout_after)."""
        if fault is not None and fault not in FAULTS:
            raise Refusal(400, f"create is null or one of {', '.join(FAULTS)}")
        with self._lock:
            self._fault = (fault, times, seconds) if fault and times > 0 else None

    def hold(self) -> None:
        """Webhooks are made and kept."""
        with self._lock:
            self._holding = True

    def release(self, *, reverse: bool = False) -> list[Delivery]:
        """Sends what was kept, in its order or backwards, and keeps no more."""
        with self._lock:
            self._holding = False
            held = [delivery for delivery in self.deliveries if delivery.state == "held"]
            for delivery in held:
                delivery.state = "sending"
        for delivery in reversed(held) if reverse else held:
            self._send(delivery)
        return held

    def set_clock(self, ahead: timedelta) -> None:
        with self._lock:
            self._ahead = ahead

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "invoices": [asdict(invoice) for invoice in self.invoices.values()],
                "deliveries": [delivery.shown() for delivery in self.deliveries],
                "holding": self._holding,
                "ahead_seconds": self._ahead.total_seconds(),
            }

    def take_fault(self) -> tuple[str, float] | None:
        with self._lock:
            if self._fault is None:
                return None
            fault, times, seconds = self._fault
            self._fault = (fault, times - 1, seconds) if times > 1 else None
            return fault, seconds

    def pause(self, seconds: float) -> bool:
        """Waits, at most until the emulator stops; True if it did."""
        return self._stopping.wait(seconds)

    # --- webhooks

    def _settle(
        self, invoice: Invoice, status: str, *, amount: str | None = None, pay_time: str | None = None
    ) -> Delivery:
        with self._lock:
            if invoice.status == "success":
                raise Refusal(409, "the invoice is paid")
            invoice.status = status
            body = webhook_body(
                invoice_id=invoice.invoice_id,
                order_id=invoice.order_id,
                status=status,
                pay_time=pay_time or f"{datetime.now(UTC) + self._ahead:%Y-%m-%dT%H:%M:%SZ}",
                amount=Number(amount) if amount is not None else invoice.sum,
                custom_fields=invoice.custom_fields,
            )
        signed = signature(self.secret_key, body)
        return self._deliver(Delivery(invoice.invoice_id, invoice.order_id, invoice.hook_url, body.decode(), signed))

    def _deliver(self, delivery: Delivery) -> Delivery:
        with self._lock:
            self.deliveries.append(delivery)
            if self._holding:
                delivery.state = "held"
                return delivery
        self._send(delivery)
        return delivery

    def _send(self, delivery: Delivery) -> None:
        """The first attempt here, so that the caller sees its outcome; the others in the background."""
        if self._attempt(delivery) or not self.retry_pauses:
            return
        if not self._retrying.acquire(blocking=False):
            delivery.state = "gave_up"
            return
        delivery.state = "retrying"
        threading.Thread(target=self._keep_trying, args=(delivery,), daemon=True).start()

    def _keep_trying(self, delivery: Delivery) -> None:
        try:
            for pause in self.retry_pauses:
                if self.pause(pause) or self._attempt(delivery):
                    return
            delivery.state = "gave_up"
        finally:
            self._retrying.release()

    def _attempt(self, delivery: Delivery) -> bool:
        """True where nothing more is to be done."""
        try:
            outcome: int | str = _post(delivery)
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
        except ValueError as error:
            outcome = str(error)
        with self._lock:
            delivery.attempts.append(outcome)
            if isinstance(outcome, int) and 200 <= outcome < 300:
                delivery.state = "delivered"
            elif not self.retry_pauses or outcome == NOT_LOOPBACK:
                delivery.state = "gave_up"
            return delivery.state in ("delivered", "gave_up")


NOT_LOOPBACK = "hook_url is not on loopback"


def _post(delivery: Delivery) -> int:
    """The status of one real POST. A redirect is an answer, not a way."""
    url = urlsplit(delivery.hook_url)
    if url.scheme != "http" or not _is_loopback(url.hostname or ""):
        raise ValueError(NOT_LOOPBACK)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=HOOK_SECONDS)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {"Content-Type": "application/json", "X-Lava-Signature": delivery.signature, "User-Agent": "lava"}
        connection.request("POST", target, delivery.body.encode(), headers)
        response = connection.getresponse()
        response.read(MAX_BODY)
        return response.status
    finally:
        connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _validate(request: Mapping[str, Any]) -> None:
    if unknown := sorted(set(request) - set(CREATE_FIELDS)):
        raise Refusal(400, f"unknown field {unknown[0]}")
    if missing := [name for name in CREATE_FIELDS if name not in request]:
        raise Refusal(400, f"{missing[0]} is required")
    if not isinstance(request["sum"], Number) or not float(request["sum"]) > 0:
        raise Refusal(400, "sum is a positive number")
    if not isinstance(request["expire"], Number) or not request["expire"].isdigit() or int(request["expire"]) < 1:
        raise Refusal(400, "expire is a positive whole number")
    if not _is_string(request["order_id"]) or not 0 < len(request["order_id"]) <= 255:
        raise Refusal(400, "order_id is a string")
    for name in ("hook_url", "success_url", "fail_url"):
        if not _is_string(request[name]) or urlsplit(request[name]).scheme not in ("http", "https"):
            raise Refusal(400, f"{name} is an http(s) URL")
    if not isinstance(request["custom_fields"], dict):
        raise Refusal(400, "custom_fields is an object")


def _is_string(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], lava: LavaEmulator) -> None:
        self.lava = lava
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
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    # --- routes

    def _get(self) -> None:
        match self._path():
            case ["pay", invoice_id]:
                self._html(_page(self.server.lava.invoice(invoice_id)))
            case ["control", "invoices"]:
                self._json(200, self.server.lava.state())
            case _:
                raise Refusal(404, "no such address")

    def _post(self) -> None:
        lava, body = self.server.lava, self._body()
        match self._path():
            case ["v1", "invoice", "create"]:
                lava.requests.append(
                    Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                )
                self._create(body)
            case ["pay", invoice_id]:
                self._pay(invoice_id, {key: values[-1] for key, values in parse_qs(body.decode()).items()})
            case ["control", "orders", order_id, "renew"]:
                wish = _object(body or b"{}")
                delivery = lava.renew(
                    order_id,
                    outcome=str(wish.get("outcome", "success")),
                    amount=wish.get("amount"),
                    pay_time=wish.get("pay_time"),
                )
                self._json(200, delivery.shown())
            case ["control", "orders", order_id, "repeat"]:
                self._json(200, lava.repeat(order_id).shown())
            case ["control", "faults"]:
                wish = _object(body)
                times, seconds = int(wish.get("times", "1")), float(wish.get("seconds", "30"))
                lava.fail_creates(wish.get("create"), times=times, seconds=seconds)
                self._json(200, {"create": wish.get("create")})
            case ["control", "deliveries"]:
                self._order(str(_object(body).get("order")))
            case ["control", "clock"]:
                lava.set_clock(timedelta(seconds=float(_object(body).get("ahead_seconds", "0"))))
                self._json(200, {})
            case _:
                raise Refusal(404, "no such address")

    def _create(self, body: bytes) -> None:
        lava = self.server.lava
        given = self.headers.get("Authorization", "").encode("utf-8", "backslashreplace")
        if not hmac.compare_digest(given, f"Bearer {lava.api_key}".encode()):
            raise Refusal(401, "the API key is wrong")
        request = _object(body)
        fault, seconds = lava.take_fault() or ("", 0.0)
        if fault == "500":
            raise Refusal(500, "internal error")
        if fault == "timeout":
            return self._silence(seconds)
        answer = lava.create(request)
        if fault == "timeout_after":
            return self._silence(seconds)
        return self._json(200, answer)

    def _pay(self, invoice_id: str, form: Mapping[str, str]) -> None:
        lava, invoice = self.server.lava, self.server.lava.invoice(invoice_id)
        outcome = form.get("outcome")
        if outcome not in ("pay", "decline", "abandon"):
            raise Refusal(400, "outcome is pay, decline or abandon")
        if invoice.status != "success":  # a second click on a paid invoice goes where the first one went
            if outcome == "pay":
                lava.pay(invoice_id, amount=form.get("amount"), pay_time=form.get("pay_time"))
            elif outcome == "decline":
                lava.decline(invoice_id, pay_time=form.get("pay_time"))
        self._redirect(invoice.success_url if invoice.status == "success" else invoice.fail_url)

    def _order(self, order: str) -> None:
        lava = self.server.lava
        if order == "hold":
            lava.hold()
            return self._json(200, {"deliveries": []})
        if order in ("release", "reverse"):
            sent = lava.release(reverse=order == "reverse")
            return self._json(200, {"deliveries": [delivery.shown() for delivery in sent]})
        raise Refusal(400, "order is hold, release or reverse")

    # --- the wire

    def _path(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise Refusal(411, "Content-Length is required")
        if int(length) > MAX_BODY:
            raise Refusal(413, "the body is too large")
        return self.rfile.read(int(length))

    def _answer(self, route: Callable[[], None]) -> None:
        self.close_connection = True
        try:
            route()
        except Refusal as refusal:
            self._json(refusal.status, {"error": str(refusal)})
        except (ValueError, TypeError, OverflowError):
            self._json(400, {"error": "the request cannot be read"})

    def _silence(self, seconds: float) -> None:
        """No answer: the caller waits, then the line is cut."""
        self.server.lava.pause(seconds)
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, value: Any) -> None:
        self._write(status, "application/json", dump(value).encode(), {})

    def _html(self, page: str) -> None:
        self._write(200, "text/html; charset=utf-8", page.encode(), {})

    def _redirect(self, url: str) -> None:
        self._write(303, "text/plain", b"", {"Location": url.replace("\r", "").replace("\n", "")})

    def _write(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), parse_float=Number, parse_int=Number)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "the body is not JSON") from error
    if not isinstance(value, dict):
        raise Refusal(400, "the body is not an object")
    return value


def _page(invoice: Invoice) -> str:
    buttons = (
        ""
        if invoice.status == "success"
        else "".join(
            f'<button name="outcome" value="{value}">{label}</button> '
            for value, label in (("pay", "Pay"), ("decline", "Decline"), ("abandon", "Go back"))
        )
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Lava (emulator)</title>'
        f"<h1>Lava (emulator)</h1><p>Order {escape(invoice.order_id)}: <b>{escape(invoice.sum)}</b></p>"
        f'<p>Status: {escape(invoice.status)}</p><form method="post">{buttons}</form></html>'
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.lava", description="Emulates Lava on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    keys = {name: os.environ.get(name, "") for name in ("LAVA_API_KEY", "LAVA_SECRET_KEY")}
    if missing := [name for name, value in keys.items() if not value]:
        parser.error(f"{missing[0]} is not set")
    lava = LavaEmulator(api_key=keys["LAVA_API_KEY"], secret_key=keys["LAVA_SECRET_KEY"], port=arguments.port)
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    with lava:
        print(f"lava emulator on {lava.base_url}", flush=True)
        enough.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
