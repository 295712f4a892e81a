"""2Checkout over HTTP: its API, its shop, the control surface of tests, and the server that is started."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

from tests.emulators.twocheckout.messages import (
    MAX_BODY,
    Refusal,
    header_fields,
    header_is_right,
    link_signature,
    read_object,
    token_claims,
)
from tests.emulators.twocheckout.state import Received, TwoCheckoutState

#: The API refuses a header whose date is further away.
HEADER_MINUTES = 10


class TwoCheckoutEmulator(TwoCheckoutState):
    """2Checkout and its server. Every method but `start` and `stop` is safe from any thread."""

    def __init__(
        self,
        *,
        vendor: str = "250111206876",
        secret_key: str,
        buy_link_secret: str,
        hook_url: str = "",
        zone: tzinfo | None = None,
        grace_days: int = 7,
        port: int = 0,
        retry_pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    ) -> None:
        super().__init__(
            vendor=vendor,
            secret_key=secret_key,
            buy_link_secret=buy_link_secret,
            hook_url=hook_url,
            zone=zone or ZoneInfo("Europe/Bucharest"),
            grace_days=grace_days,
            retry_pauses=retry_pauses,
        )
        self._thread: threading.Thread | None = None
        self._server = _Server(("127.0.0.1", port), self)

    def __repr__(self) -> str:
        return f"<TwoCheckoutEmulator {self.origin}>"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/rest/6.0"

    def start(self) -> TwoCheckoutEmulator:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()

    def __enter__(self) -> TwoCheckoutEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], tco: TwoCheckoutState) -> None:
        self.tco = tco
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
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of an answer: the emulator's own clock."""
        return super().date_time_string(self.server.tco.now().timestamp() if timestamp is None else timestamp)

    # --- routes

    def _answer(self, method: str) -> None:
        self.close_connection = True
        try:
            body = self._body()
            match self._path():
                case ["rest", "6.0", *rest]:
                    self._keep(body)
                    self._authenticate()
                    self._done(lambda: self._api(method, rest, body))
                case ["checkout", "api", "encrypt", "generate", "signature"] if method == "POST":
                    self._keep(body)
                    self._done(lambda: self._signature(body))
                case ["checkout", "buy"]:
                    self._shop(method, body)
                case ["control", *rest]:
                    self._json(200, self._control(method, rest, body))
                case _:
                    raise Refusal(404, "NOT_FOUND")
        except Refusal as refusal:
            self._json(refusal.status, {"error_code": refusal.code, "message": str(refusal)})
        except (ValueError, TypeError, KeyError, ArithmeticError, IndexError):
            self._json(400, {"error_code": "INVALID_REQUEST", "message": "the request cannot be read"})

    def _done(self, act: Callable[[], Any]) -> None:
        """Does it and answers, unless a test wishes otherwise."""
        fault, seconds = self.server.tco.take_fault(self.command)
        match fault:
            case "500":
                raise Refusal(500, "INTERNAL_ERROR")
            case "429":
                self._write(429, "application/json", b"{}", {"Retry-After": "7"})
            case "timeout":
                self._silence(seconds)
            case "timeout_after":
                act()
                self._silence(seconds)
            case _:
                self._json(200, act())

    def _api(self, method: str, path: list[str], body: bytes) -> Any:
        tco = self.server.tco
        match method, path:
            case "GET", ["orders"]:
                query = self._query()
                found = tco.found_orders(query.get("ExternalRefNo", ""), query.get("StartDate", ""))
                return {"Items": found, "Pagination": {"Page": 1, "Limit": 50, "Count": len(found)}}
            case "POST", ["orders"]:
                return tco.shown_order(tco.place(read_object(body)))
            case "GET", ["orders", ref]:
                return tco.shown_order(tco.order(ref))
            case "POST", ["orders", ref, "refund"]:
                return self._refund(ref, read_object(body))
            case "GET", ["paymentmethods", "PREVIOUS_ORDER", "refno", ref]:
                return tco.one_click and tco.order(ref).status in ("COMPLETE", "AUTHRECEIVED")
            case "GET", ["subscriptions", ref]:
                return tco.shown_subscription(ref)
            case "GET", ["subscriptions", ref, "history"]:
                return tco.shown_history(ref)
            case "POST" | "DELETE", ["subscriptions", ref]:
                tco.change(ref, enabled=method == "POST", changed_by="VENDOR")
                return True
            case "POST" | "DELETE", ["subscriptions", ref, "renewal"]:
                if not tco.subscription(ref).enabled:
                    raise Refusal(400, "SUBSCRIPTION_DISABLED")
                tco.change(ref, recurring=method == "POST", changed_by="VENDOR")
                return True
            case "PUT", ["subscriptions", ref, "renewal", "price", currency]:
                wish = read_object(body)
                if currency != tco.subscription(ref).currency or int(wish["Cycles"]) < 1:
                    raise Refusal(400, "INVALID_CURRENCY")
                tco.subscription(ref).renewal_price = Decimal(str(wish["Price"]))
                return True
        raise Refusal(404, "NOT_FOUND")

    def _refund(self, ref: str, wish: Mapping[str, Any]) -> bool:
        amount = Decimal(str(wish["amount"]))
        lines = sum((Decimal(str(item["Amount"])) for item in wish["items"]), Decimal(0))
        if lines != amount or any(item["LineItemReference"] != f"line{ref}" for item in wish["items"]):
            raise Refusal(400, "INVALID_ITEMS")
        if wish["reason"] != "Other":
            raise Refusal(400, "INVALID_REASON")
        self.server.tco.refund(ref, amount, str(wish["comment"]))
        return True

    def _signature(self, body: bytes) -> dict[str, str]:
        tco, parameters = self.server.tco, read_object(body)
        claims = token_claims(self.headers.get("merchant-token", ""), tco.buy_link_secret)
        now = int(time.time())
        if claims.get("sub") != tco.vendor or not int(claims["iat"]) - 60 <= now < int(claims["exp"]):
            raise Refusal(401, "AUTHENTICATION_ERROR")
        if parameters.get("merchant") != tco.vendor:
            raise Refusal(400, "INVALID_MERCHANT")
        return {"signature": link_signature(parameters, tco.buy_link_secret)}

    def _shop(self, method: str, body: bytes) -> None:
        tco, link = self.server.tco, self._query()
        signature = link.pop("signature", "")
        if signature != link_signature(link, tco.buy_link_secret) or link.get("merchant") != tco.vendor:
            raise Refusal(403, "INVALID_SIGNATURE")
        if int(link["expiration"]) < time.time():
            raise Refusal(410, "LINK_EXPIRED")
        if method == "GET":
            self._write(200, "text/html; charset=utf-8", _page(link).encode(), {})
            return
        outcome = dict(parse_qsl(body.decode())).get("outcome", "")
        order = tco.buy(link, outcome)
        self._write(303, "text/plain", b"", {"Location": f"{link['return-url']}?refno={order.ref}"})

    def _control(self, method: str, path: list[str], body: bytes) -> Any:
        tco, wish = self.server.tco, read_object(body or b"{}")
        match method, path:
            case "GET", ["state"]:
                return json.loads(json.dumps(tco.state(), default=str))
            case "POST", ["orders", ref, "refund"]:
                amount = wish.get("amount")
                return tco.shown_order(tco.refund(ref, None if amount is None else Decimal(str(amount))))
            case "POST", ["orders", ref, "chargeback"]:
                return tco.shown_order(tco.chargeback(ref, str(wish.get("resolution", "OPEN"))))
            case "POST", ["orders", ref, "settle"]:
                return tco.shown_order(tco.settle(ref, str(wish.get("outcome", "pay"))))
            case "POST", ["subscriptions", ref, "renew"]:
                tco.renew(ref, str(wish.get("outcome", "success")))
                return tco.shown_subscription(ref)
            case "POST", ["subscriptions", ref, "expire"]:
                tco.expire(ref)
                return tco.shown_subscription(ref)
            case "POST", ["subscriptions", ref, "change"]:
                names = ("recurring", "enabled", "card_declines")
                tco.change(ref, **{name: bool(wish[name]) for name in names if name in wish})
                return tco.shown_subscription(ref)
            case "POST", ["subscriptions", ref, "hide"]:
                tco.hide(ref)
                return {}
            case "POST", ["repeat", about]:
                return tco.repeat(about).shown()
            case "POST", ["faults"]:
                times, seconds = int(wish.get("times", 1)), float(wish.get("seconds", 30))
                tco.fail(wish.get("fault"), times=times, seconds=seconds, method=str(wish.get("method", "")))
                return {"fault": wish.get("fault")}
            case "POST", ["deliveries"]:
                return self._order_deliveries(str(wish.get("order")))
            case "POST", ["clock"]:
                tco.set_clock(timedelta(seconds=float(wish.get("ahead_seconds", 0))))
                return {}
            case "POST", ["advance"]:
                tco.advance(timedelta(days=float(wish.get("days", 0))))
                return {}
        raise Refusal(404, "NOT_FOUND")

    def _order_deliveries(self, order: str) -> dict[str, Any]:
        if order == "hold":
            self.server.tco.hold()
            return {"deliveries": []}
        if order not in ("release", "reverse"):
            raise Refusal(400, "INVALID_ORDER")
        sent = self.server.tco.release(reverse=order == "reverse")
        return {"deliveries": [delivery.shown() for delivery in sent]}

    # --- the wire

    def _authenticate(self) -> None:
        tco, header = self.server.tco, self.headers.get("X-Avangate-Authentication", "")
        if not header_is_right(header, tco.vendor, tco.secret_key):
            raise Refusal(401, "AUTHENTICATION_ERROR")
        date = datetime.fromisoformat(header_fields(header)["date"]).replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - date) > timedelta(minutes=HEADER_MINUTES):
            raise Refusal(401, "AUTHENTICATION_ERROR")

    def _keep(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.tco.requests.append(Received(self.command, self.path, headers, body))

    def _path(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit():
            raise Refusal(411, "LENGTH_REQUIRED")
        if int(length) > MAX_BODY:
            raise Refusal(413, "TOO_LARGE")
        return self.rfile.read(int(length))

    def _silence(self, seconds: float) -> None:
        """No answer: the caller waits, then the line is cut."""
        self.server.tco.pause(seconds)
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, value: Any) -> None:
        self._write(status, "application/json", json.dumps(value).encode(), {})

    def _write(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _page(link: Mapping[str, str]) -> str:
    buttons = "".join(
        f'<button name="outcome" value="{value}">{label}</button> '
        for value, label in (("pay", "Pay"), ("authorize", "Pay, under review"), ("decline", "Decline"))
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>2Checkout (emulator)</title>'
        f"<h1>2Checkout (emulator)</h1><p>{escape(link['prod'])}: <b>{escape(link['price'])} "
        f'{escape(link["currency"])}</b></p><form method="post">{buttons}</form></html>'
    )
