"""The document's Lava in memory: its invoices, and what a test wishes of it."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.emulators.lava.deliveries import Deliveries, Delivery
from tests.emulators.lava.messages import (
    CREATE_FIELDS,
    Number,
    Refusal,
    signature,
    validate_create,
    webhook_body,
)

FAULTS = ("timeout", "timeout_after", "500")


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


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class LavaState(Deliveries):
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
        super().__init__(retry_pauses=retry_pauses)
        self.invoices: dict[str, Invoice] = {}
        #: The last requests to /v1, newest last.
        self.requests: deque[Received] = deque(maxlen=1000)
        self.ahead = timedelta(0)

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

    def set_clock(self, ahead: timedelta) -> None:
        with self._lock:
            self.ahead = ahead

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "invoices": [asdict(invoice) for invoice in self.invoices.values()],
                "deliveries": [delivery.shown() for delivery in self.deliveries],
                "holding": self._holding,
                "ahead_seconds": self.ahead.total_seconds(),
            }

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
                pay_time=pay_time or f"{datetime.now(UTC) + self.ahead:%Y-%m-%dT%H:%M:%SZ}",
                amount=Number(amount) if amount is not None else invoice.sum,
                custom_fields=invoice.custom_fields,
            )
        signed = signature(self.secret_key, body)
        return self.deliver(Delivery(invoice.invoice_id, invoice.order_id, invoice.hook_url, body.decode(), signed))
