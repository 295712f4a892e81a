"""Google over HTTP: the routes of its services and of /control, and the server that is started."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.emulators.google.keys import Keys
from tests.emulators.google.pushes import Pushes
from tests.emulators.google.records import Product, order_shown
from tests.emulators.google.store import Refusal, Store

MAX_BODY = 64 * 1024
MAX_PAGE = 100
ACCESS_TOKEN = "ya29.emulated-access-token"
ACCOUNT = "payflow@my-project.iam.gserviceaccount.com"
FAULTS = ("timeout", "timeout_after", "401", "403", "429", "500", "garbage")


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class GoogleEmulator(Store):
    """Google and its server. Every method but `start` and `stop` is safe from any thread."""

    def __init__(
        self,
        *,
        hook_url: str | None = None,
        port: int = 0,
        package_name: str = "com.example.app",
        audience: str = "https://billing.example.com/webhooks/google",
        push_account: str = "play-push@my-project.iam.gserviceaccount.com",
        push_subscription: str = "projects/my-project/subscriptions/play-push",
        retry_pauses: tuple[float, ...] = (),
        certs_max_age: int | None = 3600,
        page_size: int = MAX_PAGE,
    ) -> None:
        self.keys = Keys()
        super().__init__(
            Pushes(
                hook_url=hook_url,
                keys=self.keys,
                audience=audience,
                account=push_account,
                subscription=push_subscription,
                package_name=package_name,
                retry_pauses=retry_pauses,
            )
        )
        self.package_name = package_name
        self.certs_max_age, self.page_size = certs_max_age, page_size
        #: The last requests to Google's own addresses, newest last; how often each service was asked.
        self.requests: deque[Received] = deque(maxlen=1000)
        self.asked: Counter[str] = Counter()
        self._faults: dict[str, deque[str | None]] = {}
        self.silence = 30.0
        self._thread: threading.Thread | None = None
        self._server = _Server(("127.0.0.1", port), self)

    def __repr__(self) -> str:
        return f"<GoogleEmulator {self.origin}>"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def settings(self) -> dict[str, str]:
        """What a client of this Google is to be configured with."""
        account = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": self.keys.account_pem,
            "client_email": ACCOUNT,
            "token_uri": f"{self.origin}/token",
        }
        return {
            "package_name": self.package_name,
            "service_account": json.dumps(account),
            "audience": self.pushes.audience,
            "push_account": self.pushes.account,
            "push_subscription": self.pushes.subscription,
            "base_url": self.origin,
            "certs_url": f"{self.origin}/certs",
        }

    def fault(self, at: str, fault: str | None, *, times: int = 1, seconds: float = 30.0, after: int = 0) -> None:
        """Requests there are not answered, or with that status; `timeout_after` does what was asked first.

        `after` so many that are answered; `seconds` is how long silence lasts.
        """
        if at not in ("api", "token", "certs") or (fault is not None and fault not in FAULTS):
            raise Refusal(400, f"at is api, token or certs; fault is null or one of {', '.join(FAULTS)}")
        with self.lock:
            healthy: list[str | None] = [None] * after
            self._faults[at] = deque([*healthy, *[fault] * times] if fault else [])
            self.silence = seconds

    def take_fault(self, at: str) -> str | None:
        with self.lock:
            waiting = self._faults.get(at)
            return waiting.popleft() if waiting else None

    def start(self) -> GoogleEmulator:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.pushes.stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()

    def __enter__(self) -> GoogleEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], google: GoogleEmulator) -> None:
        self.google = google
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
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        self._answer(self.rfile.read(min(int(length), MAX_BODY)) if length.isdigit() else b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of an answer is the store's, which may be ahead of real time."""
        return format_datetime(self.server.google.now, usegmt=True)

    def _answer(self, body: bytes) -> None:
        self.close_connection = True
        google, url = self.server.google, urlsplit(self.path)
        service = "api" if url.path.startswith("/androidpublisher/") else url.path.strip("/").split("/")[0]
        fault = google.take_fault(service)
        try:
            if service in ("api", "token", "certs"):
                google.asked[service] += 1
                headers = {key.lower(): value for key, value in self.headers.items()}
                google.requests.append(Received(self.command, self.path, headers, body))
            if fault is not None and fault != "timeout_after":
                self._fail(fault)
                return
            status, answer, extra = self._route(service, url.path, url.query, body)
        except Refusal as refusal:
            status, extra = refusal.status, {}
            answer = {"error": {"code": refusal.status, "message": str(refusal), "status": "FAILED"}}
        except (ValueError, TypeError, KeyError, ArithmeticError, IndexError):
            status, answer, extra = 400, {"error": {"code": 400, "message": "Invalid Value"}}, {}
        if fault == "timeout_after":
            self._fail(fault)
            return
        self._write(status, b"" if answer is None else json.dumps(answer).encode(), extra)

    def _fail(self, fault: str) -> None:
        if fault.startswith("timeout"):
            self.server.google.pushes.stopping.wait(self.server.google.silence)
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "garbage":
            self._write(200, b"<html>", {})
        else:
            extra = {"Retry-After": "7"} if fault == "429" else {}
            self._write(int(fault), b'{"error": {"message": "said by Google only"}}', extra)

    # --- routes

    def _route(self, service: str, path: str, query: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        google = self.server.google
        match service:
            case "api":
                return 200, self._api(path, query, body), {}
            case "token":
                form = {key: values[-1] for key, values in parse_qs(body.decode()).items()}
                account = json.loads(google.settings()["service_account"])["client_email"]
                if not google.keys.accepts(form.get("assertion", ""), email=account):
                    return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, {}
                return 200, {"access_token": ACCESS_TOKEN, "expires_in": 3599, "token_type": "Bearer"}, {}
            case "certs":
                age = google.certs_max_age
                extra = {} if age is None else {"Cache-Control": f"public, max-age={age}, must-revalidate"}
                return 200, google.keys.certificates(), extra
            case "control":
                return 200, self._control(path, json.loads(body or b"{}")), {}
        raise Refusal(404, "no such address")

    def _api(self, path: str, query: str, body: bytes) -> Any:
        google = self.server.google
        if self.headers.get("Authorization") != f"Bearer {ACCESS_TOKEN}":
            raise Refusal(401, "Request had invalid authentication credentials.")
        base = f"/androidpublisher/v3/applications/{google.package_name}/"
        if not path.startswith(base):
            raise Refusal(403, "The caller does not have permission")
        wish = json.loads(body or b"{}")
        asked = {key: values[-1] for key, values in parse_qs(query).items()}
        match self.command, *path.removeprefix(base).split("/"):
            case "GET", "purchases", "subscriptionsv2", "tokens", token:
                with google.lock:
                    return google.bought(unquote(token)).shown()
            case "POST", "purchases", "subscriptionsv2", "tokens", deed:
                return self._command(*_deed(deed), wish)
            case "POST", "purchases", "subscriptions", product, "tokens", deed:
                token, action = _deed(deed)
                known = [each.product_id for each in google.bought(token).products]
                if action != "acknowledge" or unquote(product) not in known:
                    raise Refusal(400, "The subscription purchase is not of this product.")
                return google.acknowledge(token)
            case "GET", "orders", order_id:
                with google.lock:
                    return order_shown(google.order(unquote(order_id)))
            case "POST", "orders", deed:
                order_id, action = _deed(deed)
                if action != "refund":
                    raise Refusal(404, "no such method")
                if asked.get("revoke") == "true":
                    return google.revoke(google.order(order_id).token)
                return google.refund(order_id)
            case "GET", "purchases", "voidedpurchases":
                return self._voided(asked)
        raise Refusal(404, "no such method")

    def _command(self, token: str, action: str, wish: dict[str, Any]) -> Any:
        google = self.server.google
        match action, wish:
            case "cancel", {"cancellationContext": {"cancellationType": kind}}:
                if google.bought(token).state in ("CANCELED", "EXPIRED"):
                    raise Refusal(400, "The subscription is already canceled.")
                by = {
                    "USER_REQUESTED_STOP_RENEWALS": "userInitiatedCancellation",
                    "DEVELOPER_REQUESTED_STOP_PAYMENTS": "developerInitiatedCancellation",
                }[kind]
                google.cancel(token, by=by)
            case "revoke", {"revocationContext": {"proratedRefund": {}}}:
                google.revoke(token, full=False)
            case "revoke", {"revocationContext": {"fullRefund": {}}}:
                google.revoke(token)
            case _:
                raise Refusal(400, "Invalid Value")
        return {}

    def _voided(self, asked: dict[str, str]) -> Any:
        google = self.server.google
        oldest = google.now - timedelta(days=30)
        since, until = int(asked.get("startTime", "0")), asked.get("endTime")
        if "token" not in asked and "startTime" in asked and since < oldest.timestamp() * 1000 - 1000:
            raise Refusal(400, "startTime is older than 30 days")
        if asked.get("type") != "1":
            return {}
        found = google.voided_shown(since, int(until) if until else None)
        start = int(asked.get("token", "0"))
        answer: dict[str, Any] = {"voidedPurchases": found[start : start + google.page_size]}
        if start + google.page_size < len(found):
            answer["tokenPagination"] = {"nextPageToken": str(start + google.page_size)}
        return answer

    def _control(self, path: str, wish: dict[str, Any]) -> Any:
        google = self.server.google
        match self.command, *[unquote(part) for part in path.strip("/").split("/")[1:]]:
            case "GET", "state":
                return google.shown()
            case "POST", "purchases":
                products = [Product(**each) for each in wish.pop("products", [])]
                return {"token": google.purchase(*products, **wish).token}
            case "POST", "purchases", token, deed:
                self._deeds(token, wish)[deed]()
                return google.bought(token).shown()
            case "POST", "orders", order_id, deed:
                operator: dict[str, Callable[[], None]] = {
                    "refund": lambda: google.refund(order_id),
                    "partial": lambda: google.refund_part(order_id, Decimal(wish["amount"])),
                    "chargeback": lambda: google.refund(order_id, chargeback=True),
                    "review": lambda: google.review(order_id),
                }
                operator[deed]()
                return order_shown(google.order(order_id))
            case "POST", "clock":
                google.advance(timedelta(seconds=float(wish["seconds"])))
            case "POST", "faults":
                google.fault(wish.pop("at"), wish.pop("fault"), **wish)
            case "POST", "deliveries":
                orders: dict[str, Callable[[], Any]] = {
                    "hold": google.pushes.hold,
                    "release": google.pushes.release,
                    "reverse": lambda: google.pushes.release(reverse=True),
                    "drop": google.pushes.drop,
                    "repeat": google.pushes.repeat,
                }
                orders[wish["order"]]()
            case "POST", "test":
                google.test_notification()
            case _:
                raise Refusal(404, "no such address")
        return {}

    def _deeds(self, token: str, wish: dict[str, Any]) -> dict[str, Callable[[], None]]:
        google = self.server.google
        return {
            "fail": lambda: google.fail(token),
            "recover": lambda: google.recover(token),
            "cancel": lambda: google.cancel(token),
            "restart": lambda: google.restart(token),
            "pause": lambda: google.pause(token, days=wish["days"]),
            "defer": lambda: google.defer(token, days=wish["days"]),
            "revoke": lambda: google.revoke(token, full=wish.get("full", True)),
            "pay": lambda: google.settle_pending(token, paid=True),
            "refuse": lambda: google.settle_pending(token, paid=False),
            "items": lambda: google.change_items(token, *[Product(**each) for each in wish["products"]]),
            "instalments": lambda: google.cancel_instalments(token),
        }

    def _write(self, status: int, body: bytes, extra: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **extra}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _deed(part: str) -> tuple[str, str]:
    """`token:cancel` as (token, cancel)."""
    found = re.fullmatch(r"(.+):([a-z]+)", unquote(part))
    if found is None:
        raise Refusal(404, "no such method")
    return found[1], found[2]
