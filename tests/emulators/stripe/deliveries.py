"""Webhooks by real HTTP: in order, held, backwards, again; retried where the receiver fails."""

from __future__ import annotations

import http.client
import ipaddress
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.stripe.wire import Refusal, header_of

HOOK_SECONDS = 10.0


@dataclass
class Delivery:
    """One webhook. `attempts` are HTTP statuses, or what went wrong. state: held|sending|delivered|retrying|gave_up."""

    event_id: str
    type: str
    body: bytes
    state: str = "sending"
    attempts: list[int | str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return {"event": self.event_id, "type": self.type, "state": self.state, "attempts": self.attempts}


class Deliveries:
    """One thread sends, so that nothing waits for the receiver and the order is that of the events."""

    def __init__(
        self, *, secrets: list[str], hook_url: str, retry_pauses: tuple[float, ...], enabled_events: frozenset[str]
    ) -> None:
        self.secrets = secrets
        self.hook_url = hook_url
        #: The types that the endpoint was added for; none are all.
        self.enabled_events = enabled_events
        self.sent: list[Delivery] = []
        self._retry_pauses = retry_pauses
        self._queue: queue.Queue[Delivery | None] = queue.Queue()
        self._holding = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(HOOK_SECONDS)

    def add(self, delivery: Delivery) -> None:
        if not self.hook_url or (self.enabled_events and delivery.type not in self.enabled_events):
            return
        with self._lock:
            self.sent.append(delivery)
            if self._holding:
                delivery.state = "held"
                return
        self._queue.put(delivery)

    def hold(self) -> None:
        with self._lock:
            self._holding = True

    def release(self, *, reverse: bool = False) -> list[Delivery]:
        """Sends what was kept, in its order or backwards, and keeps no more."""
        with self._lock:
            self._holding = False
            held = [delivery for delivery in self.sent if delivery.state == "held"]
            for delivery in held:
                delivery.state = "sending"
        for delivery in reversed(held) if reverse else held:
            self._queue.put(delivery)
        return held

    def drop(self) -> None:
        """What was kept is never sent: the receiver was away for longer than Stripe tries."""
        with self._lock:
            self._holding = False
            for delivery in self.sent:
                if delivery.state == "held":
                    delivery.state = "gave_up"

    def repeat(self, event_id: str) -> Delivery:
        found = [delivery for delivery in self.sent if delivery.event_id == event_id]
        if not found:
            raise Refusal(404, "no such delivery")
        again = Delivery(found[-1].event_id, found[-1].type, found[-1].body)
        self.add(again)
        return again

    def drain(self, seconds: float = 10.0) -> None:
        """Waits until nothing is on its way. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while any(delivery.state in ("sending", "retrying") for delivery in list(self.sent)):
            if time.monotonic() > until:
                raise TimeoutError("webhooks are still on their way")
            time.sleep(0.005)

    def _work(self) -> None:
        while (delivery := self._queue.get()) is not None and not self._stopping.is_set():
            if self._attempt(delivery):
                continue
            if not self._retry_pauses:
                delivery.state = "gave_up"
                continue
            delivery.state = "retrying"
            threading.Thread(target=self._keep_trying, args=(delivery,), daemon=True).start()

    def _keep_trying(self, delivery: Delivery) -> None:
        for pause in self._retry_pauses:
            if self._stopping.wait(pause) or self._attempt(delivery):
                return
        delivery.state = "gave_up"

    def _attempt(self, delivery: Delivery) -> bool:
        # Signed anew at each attempt, at real time: the receiver compares with its own clock.
        header = header_of(self.secrets, int(time.time()), delivery.body)
        try:
            outcome: int | str = _post(self.hook_url, delivery.body, header)
        except (OSError, http.client.HTTPException, ValueError) as error:
            outcome = type(error).__name__
        delivery.attempts.append(outcome)
        if isinstance(outcome, int) and 200 <= outcome < 300:
            delivery.state = "delivered"
        return delivery.state == "delivered"


def _post(hook_url: str, body: bytes, header: str) -> int:
    """The status of one real POST. A redirect is an answer, not a way."""
    url = urlsplit(hook_url)
    if url.scheme != "http" or not _is_loopback(url.hostname or ""):
        raise ValueError("the hook is not on loopback")
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=HOOK_SECONDS)
    try:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": header,
            "User-Agent": "Stripe/1.0",
        }
        connection.request("POST", url.path or "/", body, headers)
        response = connection.getresponse()
        response.read(65536)
        return response.status
    finally:
        connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
