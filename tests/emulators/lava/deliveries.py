"""Lava's webhooks by real HTTP: held, sent backwards, repeated, tried again where the receiver fails. On loopback only."""

from __future__ import annotations

import http.client
import ipaddress
import threading
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.lava.messages import MAX_BODY, Refusal

HOOK_SECONDS = 10.0
#: Failing webhooks tried again in the background at one time; beyond it they are given up at once.
MAX_RETRYING = 16
NOT_LOOPBACK = "hook_url is not on loopback"


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


class Deliveries:
    """What was told and how it went, and the faults that a test wishes. Every method is safe from any thread."""

    #: The header in which `Delivery.signature` is sent.
    proof_header = "X-Lava-Signature"

    def __init__(self, *, retry_pauses: tuple[float, ...]) -> None:
        self.retry_pauses = retry_pauses
        self.deliveries: list[Delivery] = []
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._retrying = threading.BoundedSemaphore(MAX_RETRYING)
        self._holding = False
        self._fault: tuple[str, int, float] | None = None

    def counts(self, status: int) -> bool:
        """Does an answer of this status count as received?"""
        return 200 <= status < 300

    def repeat(self, order_id: str) -> Delivery:
        """The order's last webhook again, byte for byte. Raises Refusal(404)."""
        with self._lock:
            sent = [delivery for delivery in self.deliveries if delivery.order_id == order_id]
        if not sent:
            raise Refusal(404, "nothing was sent for this order")
        last = sent[-1]
        return self.deliver(Delivery(last.invoice_id, last.order_id, last.hook_url, last.body, last.signature))

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

    def deliver(self, delivery: Delivery) -> Delivery:
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
            outcome: int | str = self._post(delivery)
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
        except ValueError as error:
            outcome = str(error)
        with self._lock:
            delivery.attempts.append(outcome)
            if isinstance(outcome, int) and self.counts(outcome):
                delivery.state = "delivered"
            elif not self.retry_pauses or outcome == NOT_LOOPBACK:
                delivery.state = "gave_up"
            return delivery.state in ("delivered", "gave_up")

    def _post(self, delivery: Delivery) -> int:
        """The status of one real POST. A redirect is an answer, not a way."""
        url = urlsplit(delivery.hook_url)
        if url.scheme != "http" or not _is_loopback(url.hostname or ""):
            raise ValueError(NOT_LOOPBACK)
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=HOOK_SECONDS)
        try:
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            headers = {"Content-Type": "application/json", self.proof_header: delivery.signature, "User-Agent": "lava"}
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
