"""Lava in memory: its invoices, what a test wishes of it, and the delivery of its webhooks."""

from __future__ import annotations

import http.client
import ipaddress
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.lava.messages import (
    CREATE_FIELDS,
    MAX_BODY,
    Number,
    Refusal,
    signature,
    validate_create,
    webhook_body,
)

HOOK_SECONDS = 10.0
#: Failing webhooks tried again in the background at one time; beyond it they are given up at once.
MAX_RETRYING = 16
FAULTS = ("timeout", "timeout_after", "500")
NOT_LOOPBACK = "hook_url is not on loopback"


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


class LavaState:
    """The whole of Lava in memory. Every method is safe from any thread."""

    def __init__(
        self,
        *,
        api_key: str,
        secret_key: str,
        retry_pauses: tuple[float, ...],
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

    @property
    def origin(self) -> str:
        """Where the payer's pages are. The server knows."""
        raise NotImplementedError

    # --- what Lava does

    def create(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A new invoice. Raises Refusal(400) for a field that the document has not, or has otherwise."""
        validate_create(request)
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
