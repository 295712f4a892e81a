"""Lava over HTTP: the routes of the document, of the payer's page and of /control, and the server that is started."""

from __future__ import annotations

import hmac
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.emulators.lava.messages import MAX_BODY, Refusal, dump, read_object
from tests.emulators.lava.state import Invoice, LavaState, Received


class LavaEmulator(LavaState):
    """Lava and its server. Every method but `start` and `stop` is safe from any thread."""

    def __init__(
        self,
        *,
        api_key: str,
        secret_key: str,
        port: int = 0,
        retry_pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    ) -> None:
        super().__init__(api_key=api_key, secret_key=secret_key, retry_pauses=retry_pauses)
        self._thread: threading.Thread | None = None
        self._server = _Server(("127.0.0.1", port), self)

    def __repr__(self) -> str:
        return f"<LavaEmulator {self.base_url}>"

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], lava: LavaState) -> None:
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
                wish = read_object(body or b"{}")
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
                wish = read_object(body)
                times, seconds = int(wish.get("times", "1")), float(wish.get("seconds", "30"))
                lava.fail_creates(wish.get("create"), times=times, seconds=seconds)
                self._json(200, {"create": wish.get("create")})
            case ["control", "deliveries"]:
                self._order(str(read_object(body).get("order")))
            case ["control", "clock"]:
                lava.set_clock(timedelta(seconds=float(read_object(body).get("ahead_seconds", "0"))))
                self._json(200, {})
            case _:
                raise Refusal(404, "no such address")

    def _create(self, body: bytes) -> None:
        lava = self.server.lava
        given = self.headers.get("Authorization", "").encode("utf-8", "backslashreplace")
        if not hmac.compare_digest(given, f"Bearer {lava.api_key}".encode()):
            raise Refusal(401, "the API key is wrong")
        request = read_object(body)
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
