"""The App Store Server API and /control over HTTP, and the server that is started."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.emulators.apple.chain import Chain
from tests.emulators.apple.state import GROUP, AppleState
from tests.emulators.apple.wire import MAX_BODY, App, Refusal, asked, dump, page_of, read_object

CALLS = ("statuses", "history", "notifications", "test")
FAULTS = ("timeout", "timeout_after", "500", "429", "401", "404", "unsigned", "garbage")
#: What it allows a subscription's notification list to go back.
LONGEST_AGO = 180 * 86_400_000


class AppleEmulator(AppleState):
    """The store and its server. `private_key` is the app server's .p8, of which the store keeps the public half."""

    def __init__(
        self,
        *,
        private_key: str,
        bundle_id: str = "com.example.app",
        app_id: int = 1234567890,
        issuer_id: str = "57246542-96fe-1a63-e053-0824d011072a",
        key_id: str = "2X9R4HXF34",
        environment: str = "Sandbox",
        hook_url: str | None = None,
        retry_pauses: tuple[float, ...] | None = None,
        page_size: int = 20,
        port: int = 0,
        chain: Chain | None = None,
    ) -> None:
        """`chain` is what it signs with, in place of one of its own."""
        public = load_pem_private_key(private_key.encode(), password=None).public_key()
        app = App(bundle_id, app_id, issuer_id, key_id, public)  # type: ignore[arg-type]
        if retry_pauses is None:
            retry_pauses = (0.5, 1.0, 2.0, 4.0, 8.0) if environment == "Production" else ()
        super().__init__(app, environment=environment, hook_url=hook_url, retry_pauses=retry_pauses, chain=chain)
        self.page_size = page_size
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._faults: dict[str, tuple[str, int, float]] = {}
        self._thread: threading.Thread | None = None
        self._server = _Server(("127.0.0.1", port), self)

    def __repr__(self) -> str:
        return f"<AppleEmulator {self.origin}>"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, call: str, fault: str | None, *, times: int = 1, seconds: float = 30.0) -> None:
        if call not in CALLS or (fault is not None and fault not in FAULTS):
            raise Refusal(400, 4000000, f"call: {', '.join(CALLS)}; fault: {', '.join(FAULTS)}")
        with self._lock:
            if fault and times > 0:
                self._faults[call] = (fault, times, seconds)
            else:
                self._faults.pop(call, None)

    def take_fault(self, call: str) -> tuple[str, float]:
        with self._lock:
            fault, times, seconds = self._faults.pop(call, ("", 0, 0.0))
            if times > 1:
                self._faults[call] = (fault, times - 1, seconds)
            return fault, seconds

    def start(self) -> AppleEmulator:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.deliveries.stop()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()

    def __enter__(self) -> AppleEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- the API's answers; `chain` is another one where the answer shall not prove itself

    def statuses(self, transaction_id: str, chain: Chain | None) -> dict[str, Any]:
        last = [
            {
                "status": each.status,
                "originalTransactionId": each.original_id,
                "signedTransactionInfo": self.signed_transaction(each.last, chain),
                "signedRenewalInfo": self.signed_renewal(each, chain),
            }
            for each in self.of_customer(transaction_id)
        ]
        return {**self._app(), "data": [{"subscriptionGroupIdentifier": GROUP, "lastTransactions": last}]}

    def history(self, transaction_id: str, revision: str | None, chain: Chain | None) -> dict[str, Any]:
        """Oldest change first: a refund moves its transaction to the end."""
        rows = [row for each in self.of_customer(transaction_id) for row in each.transactions]
        rows.sort(key=lambda row: row.get("revocationDate", row["purchaseDate"]))
        page, following, more = page_of(rows, revision, self.page_size, transaction_id)
        signed = [self.signed_transaction(row, chain) for row in page]
        return {**self._app(), "revision": following, "hasMore": more, "signedTransactions": signed}

    def notifications(self, wish: dict[str, Any], token: str | None) -> dict[str, Any]:
        begin, end = wish.get("startDate"), wish.get("endDate")
        if not isinstance(begin, int) or not isinstance(end, int) or begin >= end:
            raise Refusal(400, 4000016, "Invalid request. The end date precedes the start date.")
        if begin < int(self.now() - LONGEST_AGO - self._ahead):
            raise Refusal(400, 4000015, "Invalid request. The start date is not within the past 180 days.")
        rows = [each for each in self.deliveries.sent if begin <= each.signed_at < end]
        if "transactionId" in wish:
            own = {each.original_id for each in self.of_customer(str(wish["transactionId"]))}
            rows = [each for each in rows if each.original_id in own]
        if wish.get("onlyFailures") is True:
            rows = [each for each in rows if each.state != "delivered"]
        page, following, more = page_of(rows, token, self.page_size, "notifications")
        answer: dict[str, Any] = {"hasMore": more, "notificationHistory": [_recorded(each) for each in page]}
        return {**answer, "paginationToken": following} if more else answer

    def _app(self) -> dict[str, Any]:
        return {"environment": self.environment, "bundleId": self.app.bundle_id, "appAppleId": self.app.app_id}


def _recorded(delivery: Any) -> dict[str, Any]:
    results = ["SUCCESS" if isinstance(each, int) and 200 <= each <= 206 else "OTHER" for each in delivery.attempts]
    attempts = [
        {"attemptDate": delivery.signed_at, "sendAttemptResult": result} for result in results or ["NO_RESPONSE"]
    ]
    return {"signedPayload": delivery.payload, "sendAttempts": attempts}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], apple: AppleEmulator) -> None:
        self.apple = apple
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
        apple = self.server.apple
        match self._path():
            case ["inApps", "v1", "subscriptions", transaction_id]:
                self._api("statuses", lambda chain: apple.statuses(transaction_id, chain))
            case ["inApps", "v2", "history", transaction_id]:
                revision = asked(parse_qs(urlsplit(self.path).query), "revision")
                self._api("history", lambda chain: apple.history(transaction_id, revision, chain))
            case ["control", "state"]:
                self._json(200, apple.shown())
            case _:
                raise Refusal(404, 4040000, "no such address")

    def _post(self) -> None:
        apple, body = self.server.apple, self._body()
        match self._path():
            case ["inApps", "v1", "notifications", "history"]:
                token = asked(parse_qs(urlsplit(self.path).query), "paginationToken")
                self._api("notifications", lambda chain: apple.notifications(read_object(body), token), body)
            case ["inApps", "v1", "notifications", "test"]:
                self._api("test", lambda chain: {"testNotificationToken": apple.notify("TEST").uuid}, body)
            case ["control", "purchases"]:
                self._purchase(read_object(body))
            case ["control", "subscriptions", original_id, deed]:
                self._json(200, apple.deed(original_id, deed, read_object(body)).shown())
            case ["control", "notify"]:
                wish = read_object(body)
                told = apple.notify(str(wish["type"]), wish.get("subtype"), wish.get("id"))
                self._json(200, told.shown())
            case ["control", "faults"]:
                wish = read_object(body)
                times, seconds = int(wish.get("times", 1)), float(wish.get("seconds", 30))
                apple.fail(str(wish.get("call")), wish.get("fault"), times=times, seconds=seconds)
                self._json(200, {})
            case ["control", "deliveries"]:
                sent = apple.deliveries.order(str(read_object(body).get("order")))
                self._json(200, {"deliveries": [each.shown() for each in sent]})
            case ["control", "deliveries", uuid, "repeat"]:
                self._json(200, apple.deliveries.repeat(uuid).shown())
            case ["control", "clock"]:
                apple.set_clock(float(read_object(body).get("ahead_seconds", 0)))
                self._json(200, {})
            case _:
                raise Refusal(404, 4040000, "no such address")

    def _purchase(self, wish: dict[str, Any]) -> None:
        apple = self.server.apple
        bought = apple.purchase(
            str(wish["productId"]),
            int(wish["price"]),
            currency=str(wish.get("currency", "USD")),
            days=int(wish.get("days", 30)),
            app_account_token=wish.get("appAccountToken"),
            free=bool(wish.get("free")),
            family_shared=bool(wish.get("familyShared")),
        )
        signed = apple.signed_transaction(bought.last)
        answer = {"originalTransactionId": bought.original_id, "transactionId": bought.last["transactionId"]}
        self._json(200, {**answer, "signedTransaction": signed})

    def _api(self, call: str, answer: Callable[[Chain | None], dict[str, Any]], body: bytes = b"") -> None:
        apple = self.server.apple
        headers = {name.lower(): value for name, value in self.headers.items()}
        apple.requests.append((self.command, self.path, headers, body))
        apple.app.admit(self.headers.get("Authorization", ""))
        fault, seconds = apple.take_fault(call)
        match fault:
            case "timeout":
                return self._silence(seconds)
            case "500":
                raise Refusal(500, 5000000, "An unknown error occurred.")
            case "429":
                raise Refusal(429, 4290000, "Rate limit exceeded.")
            case "401":
                raise Refusal(401, None, "Unauthenticated")
            case "404":
                raise Refusal(404, 4040002, "Account not found. Please try again.")
            case "garbage":
                return self._write(200, "application/json", b'{"data": 7}')
        value = answer(Chain() if fault == "unsigned" else None)
        return self._silence(seconds) if fault == "timeout_after" else self._json(200, value)

    # --- the wire

    def _path(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise Refusal(413, 4130000, "the body is too large")
        return self.rfile.read(int(length))

    def _answer(self, route: Callable[[], None]) -> None:
        self.close_connection = True
        try:
            route()
        except Refusal as refusal:
            self._write(refusal.status, "application/json", refusal.body)
        except (ValueError, TypeError, KeyError, OverflowError):
            self._write(400, "application/json", Refusal(400, 4000000, "General bad request.").body)

    def _silence(self, seconds: float) -> None:
        """No answer: the caller waits, then the line is cut."""
        self.server.apple.deliveries.pause(seconds)
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, value: Any) -> None:
        self._write(status, "application/json", dump(value))

    def _write(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
