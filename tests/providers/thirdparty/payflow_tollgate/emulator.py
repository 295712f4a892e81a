"""Tollgate to talk to: orders in memory, its API and its webhooks over real HTTP. Shares no code with the adapter."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import itertools
import json
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

MONTH = timedelta(days=31)


class Tollgate:
    """A running Tollgate. `now` is its calendar; tests pay, renew and end orders by its methods."""

    def __init__(self, *, api_key: str, secret: str) -> None:
        self.api_key, self.secret = api_key, secret
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.orders: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        tollgate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = tollgate._answer(self.command, self.path, dict(self.headers), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Tollgate:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- what happens at Tollgate

    def pay(self, order_id: str) -> None:
        """The payer pays, or Tollgate charges the next period by itself."""
        order = self.orders[order_id]
        order.update(state="running", paid_until=(self.now + MONTH).isoformat())
        self._tell(order, "paid", payment=self._payment(order))

    def fail(self, order_id: str) -> None:
        order = self.orders[order_id]
        self._tell(order, "failed", payment=self._payment(order), reason="card_declined")

    def end(self, order_id: str, state: str) -> None:
        """`state`: ending (it renews no more) or over."""
        order = self.orders[order_id]
        order["state"] = state
        if state == "over":
            order["paid_until"] = self.now.isoformat()
        self._tell(order, state)

    def refund(self, payment_id: str) -> dict[str, Any] | None:
        """The payment as the refund; None where there is no such payment, or nothing left of it."""
        order = next((one for one in self.orders.values() if payment_id in one["payments"]), None)
        if order is None:
            return None
        payment = order["payments"][payment_id]
        if "refund" in payment:
            return {}
        payment["refund"] = f"back_{next(self._numbers)}"
        self._tell(order, "refunded", payment=payment)
        return {"id": payment["refund"], "amount": payment["amount"]}

    # --- its API

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        if headers.get("Authorization") != f"Bearer {self.api_key}":
            return 401, {"error": "who are you?"}
        key = headers.get("Idempotency-Key", "")
        if key in self._answers:
            return 200, self._answers[key]
        wanted = json.loads(body, parse_float=str) if body else {}
        match [method, *map(unquote, urlsplit(path).path.strip("/").split("/"))]:
            case ["POST", "orders"]:
                answer = self._open(wanted)
            case ["GET", "orders", order_id] if order_id in self.orders:
                answer = self._shown(self.orders[order_id])
            case ["POST", "orders", order_id, "cancel"] if order_id in self.orders:
                if self.orders[order_id]["state"] not in ("ending", "over"):
                    self.end(order_id, "over" if wanted["now"] else "ending")
                answer = self._shown(self.orders[order_id])
            case ["POST", "payments", payment_id, "refund"]:
                refund = self.refund(payment_id)
                if not refund:
                    return (404, {"error": "no such payment"}) if refund is None else (409, {"error": "given back"})
                answer = refund
            case _:
                return 404, {"error": "nothing here"}
        if key:
            self._answers[key] = answer
        return 200, answer

    def _open(self, wanted: dict[str, Any]) -> dict[str, Any]:
        order_id = f"order_{next(self._numbers)}"
        self.orders[order_id] = {**wanted, "id": order_id, "state": "open", "payments": {}, "news": []}
        return {"id": order_id, "page": f"{self.url}/pay/{order_id}"}

    def _shown(self, order: dict[str, Any]) -> dict[str, Any]:
        shown = {name: order.get(name) for name in ("id", "reference", "user", "plan", "state", "paid_until", "news")}
        return {**shown, "as_of": self.now.isoformat()}

    # --- its webhooks

    def _payment(self, order: dict[str, Any]) -> dict[str, Any]:
        payment = {"id": f"pay_{next(self._numbers)}", "amount": order["amount"], "currency": order["currency"]}
        order["payments"][payment["id"]] = payment
        return payment

    def _tell(self, order: dict[str, Any], type_: str, **more: Any) -> None:
        news = {"id": f"news_{next(self._numbers)}", "type": type_, "at": self.now.isoformat(), **more}
        order["news"].append(json.loads(json.dumps(news)))
        told = {name: order.get(name) for name in ("id", "reference", "user", "plan", "paid_until")}
        deliver(order["hook"], self.secret, json.dumps({**news, "order": told}).encode())

    def refunded(self, payment_id: str) -> Decimal:
        [payment] = [one["payments"][payment_id] for one in self.orders.values() if payment_id in one["payments"]]
        return Decimal(payment["amount"]) if "refund" in payment else Decimal(0)


def proof(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def deliver(hook: str, secret: str, body: bytes) -> None:
    """One attempt; Tollgate's next ones are not played."""
    url = urlsplit(hook)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    try:
        connection.request("POST", url.path, body, {"X-Tollgate-Proof": proof(secret, body)})
        connection.getresponse().read()
    finally:
        connection.close()
