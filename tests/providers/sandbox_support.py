"""What the sandbox's tests share: a sandbox on a live server, asked by real HTTP, and a receiver of its webhooks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.core.servers.basehttp import WSGIRequestHandler
from django.db import connections

from payflow.core import clock
from payflow.core.http import Answer, HttpClient
from providers.base import ChargeRequest, ProviderEvent, SubRequest
from providers.sandbox.adapter import SandboxProvider
from providers.sandbox.deliveries import deliveries_send

KEY, SECRET = "sandbox_key_of_the_tests", "sandbox_secret_of_the_tests"
OTHER_KEY, OTHER_SECRET = "sandbox_key_of_another", "sandbox_secret_of_another"
# The live server writes head and body apart; without this each answer waits 40 ms for a delayed ACK.
WSGIRequestHandler.disable_nagle_algorithm = True
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)


@dataclass
class Receiver:
    """An HTTP server that keeps what it gets and answers from `answers` (status, headers, body), then 200."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    url: str = ""

    @classmethod
    def emptied(cls) -> Receiver:
        """The one receiver of this process, as good as new: stopping a server takes half a second."""
        receiver = cls._listening()
        receiver.answers.clear()
        receiver.received.clear()
        return receiver

    @classmethod
    @cache
    def _listening(cls) -> Receiver:
        receiver = cls()

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.command, self.path, headers, body))
                status, extra, answer = receiver.answers.pop(0) if receiver.answers else (200, {}, b"")
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PATCH = _any

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        return receiver

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        text = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, text))


@dataclass
class Sandbox:
    base_url: str
    hooks: Receiver
    provider: SandboxProvider
    other: SandboxProvider

    @classmethod
    def running(cls, live_server: Any, settings: Any) -> Sandbox:
        base_url = f"{live_server.url}/sandbox"
        settings.PAYFLOW_PROVIDERS = {each.name: each.config for each in _providers(base_url)}
        settings.SANDBOX_HOLD_SECONDS = 0
        return cls(base_url, Receiver.emptied(), *_providers(base_url))

    def api(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, api_key: str = KEY
    ) -> tuple[int, Any]:
        """One call of the API: the status and the JSON."""
        headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        answer = _client(self.base_url).request(
            method, f"/api/{path}", headers=headers, content=content, idempotent=False
        )
        return answer.status, answer.json()

    def method(self, behaviour: str = "ok", customer: str = "cus_1") -> str:
        status, body = self.api(
            "POST",
            "methods",
            {"customer_ref": customer, "behaviour": behaviour, "hook_url": f"{self.hooks.url}/webhooks/sandbox"},
        )
        assert status == 201
        return str(body["ref"])

    def request(self, **changes: Any) -> SubRequest:
        fields: dict[str, Any] = {
            "user_ref": "user-1",
            "plan_ref": "pro",
            "provider_plan_ref": None,
            "order_ref": "order-1",
            "amount": Decimal("9.90"),
            "currency": "USD",
            "interval": (1, "monthly"),
            "trial_days": 0,
            "email": "ann@example.com",
            "success_url": "https://shop.example/paid",
            "fail_url": "https://shop.example/failed",
            "cancel_url": "https://shop.example/left",
            "hook_url": f"{self.hooks.url}/webhooks/sandbox",
            "idempotency_key": "checkout-1",
        }
        return SubRequest(**{**fields, **changes})

    def open_checkout(self, **changes: Any) -> str:
        """The URL of a new checkout's page."""
        url = self.provider.create_subscription(self.request(**changes)).checkout_url
        assert url
        return url

    def charge_request(self, method_ref: str, **changes: Any) -> ChargeRequest:
        fields: dict[str, Any] = {
            "method_ref": method_ref,
            "customer_ref": "cus_1",
            "amount": Decimal("9.90"),
            "currency": "USD",
            "idempotency_key": "charge-1",
        }
        return ChargeRequest(**{**fields, **changes})

    def deliver(self) -> list[ProviderEvent]:
        """Sends what is due and reads it as PayFlow does: verified, then parsed."""
        seen = len(self.hooks.received)
        deliveries_send(wall=clock.wall(), limit=100)
        events = []
        for delivery in self.hooks.received[seen:]:
            self.provider.verify_webhook(delivery.headers, delivery.body, clock.wall())
            events += self.provider.parse_webhook(delivery.headers, delivery.body)
        return events


def config(base_url: str, **changes: Any) -> dict[str, Any]:
    return {
        "adapter": "sandbox",
        "base_url": base_url,
        "api_key": KEY,
        "webhook_secret": SECRET,
        "answer_seconds": 5,
        "allow_outside_debug": True,
        **changes,
    }


def press(url: str, *, card: str = "", **form: str) -> Answer:
    """Posts a form to a hosted page, as a browser or `curl -d` does."""
    fields = {**form, **({"card": card} if card else {})}
    content = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    origin, _, path = url.partition("/sandbox")
    return _client(origin).request("POST", f"/sandbox{path}", headers=FORM, content=content, idempotent=False)


def look(url: str) -> Answer:
    origin, _, path = url.partition("/sandbox")
    return _client(origin).request("GET", f"/sandbox{path}", idempotent=False)


@cache
def _providers(base_url: str) -> tuple[SandboxProvider, SandboxProvider]:
    """Two accounts of one sandbox."""
    other = config(base_url, api_key=OTHER_KEY, webhook_secret=OTHER_SECRET)
    return SandboxProvider("sandbox", config(base_url)), SandboxProvider("sandbox-two", other)


@cache
def _client(base_url: str) -> HttpClient:
    return HttpClient("sandbox", base_url)


def at_once(call: Callable[[], Any], times: int) -> list[Any]:
    """`call` from that many threads, started together."""
    gate = threading.Barrier(times)

    def run() -> Any:
        gate.wait()
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(times) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(times)]]
