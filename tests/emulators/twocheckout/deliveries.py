"""The delivery of IPN and LCN: tried until the receiver's signed receipt comes, held back and reordered at wish."""

from __future__ import annotations

import http.client
import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.twocheckout.messages import MAX_BODY, Refusal, receipt_is_right, signed_form

HOOK_SECONDS = 10.0
#: Failing deliveries tried again in the background at one time; beyond it they are given up at once.
MAX_RETRYING = 16
NOT_LOOPBACK = "the hook URL is not on loopback"
NO_RECEIPT = "no receipt"


@dataclass
class Delivery:
    """One IPN or LCN. `attempts` are HTTP statuses, or what went wrong. state: held|sending|delivered|retrying|gave_up."""

    kind: str
    about: str
    fields: list[tuple[str, str]]
    body: bytes
    state: str = "sending"
    attempts: list[int | str] = field(default_factory=list)
    receipt: str = ""

    def shown(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "about": self.about,
            "body": self.body.decode(),
            "state": self.state,
            "attempts": self.attempts,
            "receipt": self.receipt,
        }


class Deliveries:
    """Every method is safe from any thread. Without a hook URL everything is made and kept."""

    def __init__(self, *, secret_key: str, hook_url: str, retry_pauses: tuple[float, ...]) -> None:
        self.secret_key = secret_key
        self.hook_url = hook_url
        self.retry_pauses = retry_pauses
        self.deliveries: list[Delivery] = []
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._retrying = threading.BoundedSemaphore(MAX_RETRYING)
        self._holding = False
        self._depth = 0
        self._outbox: list[Delivery] = []

    @property
    def origin(self) -> str:
        """Where the buyer's pages are. The server knows."""
        raise NotImplementedError

    def deliver(self, kind: str, about: str, fields: list[tuple[str, str]]) -> Delivery:
        return self._deliver(Delivery(kind, about, fields, signed_form(fields, self.secret_key)))

    def repeat(self, about: str) -> Delivery:
        """The last delivery about an order or a subscription again, byte for byte. Raises Refusal(404)."""
        with self._lock:
            sent = [delivery for delivery in self.deliveries if delivery.about == about]
        if not sent:
            raise Refusal(404, "DELIVERY_NOT_FOUND")
        last = sent[-1]
        return self._deliver(Delivery(last.kind, last.about, last.fields, last.body))

    def hold(self) -> None:
        """Deliveries are made and kept."""
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

    def pause(self, seconds: float) -> bool:
        """Waits, at most until the emulator stops; True if it did."""
        return self._stopping.wait(seconds)

    @contextmanager
    def _acting(self) -> Iterator[None]:
        """Changes go together; what they tell is sent when they are done, for the receiver may ask at once."""
        due: list[Delivery] = []
        with self._lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    due, self._outbox = self._outbox, []
        for delivery in due:
            self._send(delivery)

    def _deliver(self, delivery: Delivery) -> Delivery:
        with self._acting():
            self.deliveries.append(delivery)
            if self._holding or not self.hook_url:
                delivery.state = "held"
            else:
                self._outbox.append(delivery)
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
        outcome: int | str
        try:
            outcome, delivery.receipt = _post(self.hook_url, delivery.body)
            if outcome == 200 and not receipt_is_right(delivery.fields, self.secret_key, delivery.receipt):
                outcome = NO_RECEIPT
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
        except ValueError as error:
            outcome = str(error)
        with self._lock:
            delivery.attempts.append(outcome)
            if outcome == 200:
                delivery.state = "delivered"
            elif not self.retry_pauses or outcome == NOT_LOOPBACK:
                delivery.state = "gave_up"
            return delivery.state in ("delivered", "gave_up")


def _post(hook_url: str, body: bytes) -> tuple[int, str]:
    """Status and answer of one real POST. A redirect is an answer, not a way."""
    url = urlsplit(hook_url)
    if url.scheme != "http" or not _is_loopback(url.hostname or ""):
        raise ValueError(NOT_LOOPBACK)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=HOOK_SECONDS)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "2Checkout"}
        connection.request("POST", url.path or "/", body, headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_BODY).decode("utf-8", "replace")
    finally:
        connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
