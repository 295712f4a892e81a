"""Notifications on their way: kept, sent, tried again, repeated, dropped."""

from __future__ import annotations

import http.client
import ipaddress
import threading
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.apple.wire import MAX_BODY, Refusal, dump

HOOK_SECONDS = 10.0
NOT_LOOPBACK = "the address is not on loopback"


@dataclass
class Delivery:
    """One notification. `attempts` are HTTP statuses, or what went wrong. state: held|sending|delivered|retrying|gave_up."""

    uuid: str
    kind: str
    subtype: str | None
    signed_at: int
    original_id: str | None
    payload: str
    state: str = "sending"
    attempts: list[int | str] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return dump({"signedPayload": self.payload})

    def shown(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "payload"}


class Deliveries:
    """Apple tries again after 1, 12, 24, 48 and 72 hours in production, never in the sandbox: `pauses` in seconds here."""

    def __init__(self, hook_url: str | None, pauses: tuple[float, ...]) -> None:
        self.hook_url = hook_url
        self.pauses = pauses
        self.sent: list[Delivery] = []
        self._mode = "send"
        self._lock = threading.RLock()
        self._stopping = threading.Event()

    def post(self, delivery: Delivery) -> Delivery:
        with self._lock:
            self.sent.append(delivery)
            mode = self._mode
            if mode == "hold":
                delivery.state = "held"
            elif mode == "drop" or self.hook_url is None:
                delivery.state = "gave_up"
        if delivery.state == "sending":
            self._send(delivery)
        return delivery

    def order(self, order: str) -> list[Delivery]:
        """hold, release, reverse (released backwards), drop: nothing is sent from now on, until release."""
        if order not in ("hold", "release", "reverse", "drop"):
            raise Refusal(400, 4000000, "order is hold, release, reverse or drop")
        with self._lock:
            self._mode = {"hold": "hold", "drop": "drop"}.get(order, "send")
            held = [each for each in self.sent if each.state == "held"] if self._mode == "send" else []
            for each in held:
                each.state = "sending"
        for each in reversed(held) if order == "reverse" else held:
            self._send(each)
        return held

    def repeat(self, uuid: str) -> Delivery:
        """The same bytes once more."""
        with self._lock:
            found = next((each for each in self.sent if each.uuid == uuid), None)
        if found is None:
            raise Refusal(404, 4040000, "no such notification")
        self._attempt(found)
        return found

    def stop(self) -> None:
        self._stopping.set()

    def pause(self, seconds: float) -> bool:
        """Waits, at most until the emulator stops; True if it did."""
        return self._stopping.wait(seconds)

    def _send(self, delivery: Delivery) -> None:
        """The first attempt here, so that the caller sees its outcome; the others in the background."""
        if self._attempt(delivery) or not self.pauses:
            return
        delivery.state = "retrying"
        threading.Thread(target=self._keep_trying, args=(delivery,), daemon=True).start()

    def _keep_trying(self, delivery: Delivery) -> None:
        for pause in self.pauses:
            if self.pause(pause) or self._attempt(delivery):
                return
        delivery.state = "gave_up"

    def _attempt(self, delivery: Delivery) -> bool:
        """True where nothing more is to be done. Only 200 to 206 is success."""
        try:
            outcome: int | str = self._post(delivery.body)
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
        except ValueError as error:
            outcome = str(error)
        with self._lock:
            delivery.attempts.append(outcome)
            if isinstance(outcome, int) and 200 <= outcome <= 206:
                delivery.state = "delivered"
            elif not self.pauses or outcome == NOT_LOOPBACK:
                delivery.state = "gave_up"
            return delivery.state in ("delivered", "gave_up")

    def _post(self, body: bytes) -> int:
        url = urlsplit(self.hook_url or "")
        if url.scheme != "http" or not _is_loopback(url.hostname or ""):
            raise ValueError(NOT_LOOPBACK)
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=HOOK_SECONDS)
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "Apple-emulator"}
            connection.request("POST", url.path or "/", body, headers)
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
