"""Pub/Sub: notifications in their envelope, pushed over real HTTP with Google's token until they are acknowledged."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.google.keys import Keys
from tests.emulators.google.records import milliseconds, rfc3339

PUSH_SECONDS = 10.0
#: What Pub/Sub takes as an acknowledgement.
ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
#: Deliveries tried again in the background at one time; beyond it they are given up at once.
MAX_RETRYING = 16


@dataclass
class Delivery:
    """One message. `attempts` are HTTP statuses, or what went wrong.

    state: held | queued | sending | delivered | retrying | gave_up | dropped.
    """

    message_id: str
    token: str | None
    body: str
    state: str = "sending"
    attempts: list[int | str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return asdict(self)


def envelope(data: Mapping[str, Any] | bytes, *, message_id: str, subscription: str, published: datetime) -> bytes:
    """The body of a push, its fields as Pub/Sub sends them, in both spellings. `data` as JSON, or these very bytes."""
    at = rfc3339(published)
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    message = {
        "attributes": {},
        "data": base64.b64encode(content).decode(),
        "messageId": message_id,
        "message_id": message_id,
        "publishTime": at,
        "publish_time": at,
    }
    return json.dumps({"message": message, "subscription": subscription}).encode()


class Pushes:
    """The topic and its push subscription. Every method is safe from any thread."""

    def __init__(
        self,
        *,
        hook_url: str | None,
        keys: Keys,
        audience: str,
        account: str,
        subscription: str,
        package_name: str,
        retry_pauses: tuple[float, ...],
    ) -> None:
        self.hook_url, self.keys = hook_url, keys
        self.audience, self.account, self.subscription = audience, account, subscription
        self.package_name = package_name
        self.retry_pauses = retry_pauses
        self.deliveries: list[Delivery] = []
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._retrying = threading.BoundedSemaphore(MAX_RETRYING)
        self._holding = False
        self._number = 136969346945

    def publish(self, part: str, body: Mapping[str, Any], *, at: datetime, token: str | None = None) -> Delivery:
        """A notification of Google Play, for the next `flush` or kept."""
        data = {
            "version": "1.0",
            "packageName": self.package_name,
            "eventTimeMillis": str(milliseconds(at)),
            part: {"version": "1.0", **body},
        }
        with self._lock:
            self._number += 1
            raw = envelope(data, message_id=str(self._number), subscription=self.subscription, published=at)
            delivery = Delivery(str(self._number), token, raw.decode())
            self.deliveries.append(delivery)
            delivery.state = "held" if self._holding or self.hook_url is None else "queued"
        return delivery

    def flush(self) -> None:
        """Pushes what was published."""
        while True:
            with self._lock:
                queued = next((delivery for delivery in self.deliveries if delivery.state == "queued"), None)
                if queued is None:
                    return
                queued.state = "sending"
            self._send(queued)

    def headers(self) -> dict[str, str]:
        token = self.keys.oidc(audience=self.audience, email=self.account)
        return {"authorization": f"Bearer {token}", "content-type": "application/json", "user-agent": "APIs-Google"}

    def hold(self) -> None:
        with self._lock:
            self._holding = True

    def release(self, *, reverse: bool = False, times: int = 1) -> list[Delivery]:
        """Sends what was kept, in its order or backwards, each so many times, and keeps no more."""
        held = self._let_go("sending")
        for delivery in reversed(held) if reverse else held:
            for _ in range(times):
                self._send(delivery)
        return held

    def drop(self) -> list[Delivery]:
        """What was kept is never delivered."""
        return self._let_go("dropped")

    def repeat(self) -> Delivery:
        """The last message again, byte for byte, with a token of its own. Raises IndexError where there is none."""
        with self._lock:
            last = self.deliveries[-1]
        self._send(last)
        return last

    def _let_go(self, state: str) -> list[Delivery]:
        with self._lock:
            self._holding = False
            held = [delivery for delivery in self.deliveries if delivery.state == "held"]
            for delivery in held:
                delivery.state = state
        return held

    def _send(self, delivery: Delivery) -> None:
        """The first attempt here, so that the caller sees its outcome; the others in the background."""
        if self._attempt(delivery):
            return
        if not self.retry_pauses or not self._retrying.acquire(blocking=False):
            delivery.state = "gave_up"
            return
        delivery.state = "retrying"
        threading.Thread(target=self._keep_trying, args=(delivery,), daemon=True).start()

    def _keep_trying(self, delivery: Delivery) -> None:
        try:
            for pause in self.retry_pauses:
                if self.stopping.wait(pause) or self._attempt(delivery):
                    return
            delivery.state = "gave_up"
        finally:
            self._retrying.release()

    def _attempt(self, delivery: Delivery) -> bool:
        try:
            outcome: int | str = self._post(delivery)
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
        with self._lock:
            delivery.attempts.append(outcome)
            if outcome in ACKNOWLEDGED:
                delivery.state = "delivered"
            return delivery.state == "delivered"

    def _post(self, delivery: Delivery) -> int:
        """The status of one real POST. A redirect is an answer, not a way."""
        url = urlsplit(self.hook_url or "")
        if url.scheme != "http" or not _is_loopback(url.hostname or ""):
            raise OSError("the hook is not on loopback")
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=PUSH_SECONDS)
        try:
            connection.request("POST", url.path or "/", delivery.body.encode(), self.headers())
            response = connection.getresponse()
            response.read(64 * 1024)
            return response.status
        finally:
            connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
