"""What the emulators of lava.ru and lava.top share: faults, the payer's page, the control surface.

GET, POST /pay/<id>                     the payer's page: outcome=pay|decline
POST /control/faults                    {"fault": "timeout"|"timeout_after"|"500"|"429"|null, "path": part of the paths
                                        that it meets, "times": n, "seconds": s}
POST /control/deliveries                {"order": "hold"|"release"|"reverse"|"drop"}
POST /control/clock                     {"ahead_seconds": s}: Lava's clock runs ahead of real time
POST /control/<act>/<id> [/<outcome>]   what the flavour lets happen: renew, cancel, repeat, …
GET  /control/state                     everything that is known, secrets excepted
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from html import escape
from typing import Any, TypeVar
from urllib.parse import parse_qs

from tests.emulators.lava.deliveries import Delivery
from tests.emulators.lava.messages import Refusal, read_object
from tests.emulators.lava.state import Received
from tests.emulators.lava.wire import Handler, Listening

FAULTS = ("timeout", "timeout_after", "500", "429")


class Flavour(Listening):
    """One of Lava's services in memory, and its server. Every method but `start` and `stop` is safe from any thread."""

    def __init__(self, handler: type[Handler[Any]], *, port: int, retry_pauses: tuple[float, ...]) -> None:
        super().__init__(retry_pauses=retry_pauses)
        #: The last calls of the API, newest last.
        self.requests: deque[Received] = deque(maxlen=1000)
        self._fault_path = ""
        self.listen(handler, port)

    #: What a test lets happen, by its name in /control/<act>/<id>.
    acts: Mapping[str, str] = {}

    def pay(self, id_: str) -> Any:
        raise NotImplementedError

    def decline(self, id_: str) -> Any:
        raise NotImplementedError

    def pages(self, id_: str) -> tuple[str, str, str]:
        """What the payer sees, and where he goes when he has paid, and when not. Raises Refusal(404)."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        raise NotImplementedError

    def authorises(self, headers: Mapping[str, str], body: bytes) -> bool:
        raise NotImplementedError

    # --- what a test wishes

    def fail(self, fault: str | None, *, path: str = "", times: int = 1, seconds: float = 30.0) -> None:
        """The next calls to such a path answer 500 or 429, never answer, or are done without answering (timeout_after)."""
        if fault is not None and fault not in FAULTS:
            raise Refusal(400, f"fault is null or one of {', '.join(FAULTS)}")
        with self._lock:
            self._fault = (fault, times, seconds) if fault and times > 0 else None
            self._fault_path = path

    def fault_of(self, path: str) -> tuple[str, float]:
        with self._lock:
            met = self._fault_path in path
            return (self.take_fault() if met else None) or ("", 0.0)

    def advance(self, time: timedelta) -> None:
        with self._lock:
            self.ahead += time

    def drop(self) -> None:
        """What was kept is never sent: the receiver was away for longer than Lava tries."""
        with self._lock:
            self._holding = False
            for delivery in self.deliveries:
                if delivery.state == "held":
                    delivery.state = "gave_up"

    def last(self) -> Delivery:
        with self._lock:
            return self.deliveries[-1]


F = TypeVar("F", bound=Flavour)


class FlavourHandler(Handler[F]):
    """`api` answers a call of the service; the rest is the same in all of them."""

    def do_GET(self) -> None:
        self.answer(lambda: self._route(b""))

    def do_POST(self) -> None:
        self.answer(lambda: self._route(self.body()))

    def do_DELETE(self) -> None:
        self.answer(lambda: self._route(b""))

    def api(self, body: bytes) -> Callable[[], None]:
        """Does what is asked and returns how it is answered. Raises Refusal."""
        raise NotImplementedError

    def _route(self, body: bytes) -> None:
        parts = self.parts()
        if parts[0] == "pay" and len(parts) == 2:
            return self._payer(parts[1], body)
        if parts[0] == "control":
            return self._control(parts[1:], body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.lava.requests.append(Received(self.command, self.path, headers, body))
        if not self.lava.authorises(headers, body):
            raise Refusal(401, "the credentials are wrong")
        fault, seconds = self.lava.fault_of(self.path)
        if fault in ("500", "429"):
            raise Refusal(int(fault), "not now")
        if fault == "timeout":
            return self.silence(seconds)
        reply = self.api(body)
        if fault == "timeout_after":
            return self.silence(seconds)
        return reply()

    def _payer(self, id_: str, body: bytes) -> None:
        title, done, failed = self.lava.pages(id_)
        if self.command == "GET":
            buttons = "".join(
                f'<button name="outcome" value="{value}">{value}</button> ' for value in ("pay", "decline")
            )
            return self.html(f"<!doctype html><h1>{escape(title)}</h1><form method=post>{buttons}</form>")
        outcome = parse_qs(body.decode()).get("outcome", [""])[-1]
        if outcome not in ("pay", "decline"):
            raise Refusal(400, "outcome is pay or decline")
        (self.lava.pay if outcome == "pay" else self.lava.decline)(id_)
        return self.redirect(done if outcome == "pay" else failed)

    def _control(self, parts: list[str], body: bytes) -> None:
        lava, wish = self.lava, read_object(body or b"{}")
        match parts:
            case ["state"]:
                return self.json(200, lava.state())
            case ["faults"]:
                times, seconds = int(wish.get("times", "1")), float(wish.get("seconds", "30"))
                lava.fail(wish.get("fault"), path=str(wish.get("path", "")), times=times, seconds=seconds)
            case ["clock"]:
                lava.ahead = timedelta(seconds=float(wish.get("ahead_seconds", "0")))
            case ["deliveries"]:
                order = {"hold": lava.hold, "release": lava.release, "drop": lava.drop}
                if wish.get("order") == "reverse":
                    lava.release(reverse=True)
                elif wish.get("order") in order:
                    order[wish["order"]]()
                else:
                    raise Refusal(400, "order is hold, release, reverse or drop")
            case [act, id_, *outcome] if act in lava.acts:
                getattr(lava, lava.acts[act])(id_, *outcome)
            case _:
                raise Refusal(404, "no such address")
        return self.json(200, {"deliveries": [delivery.shown() for delivery in lava.deliveries]})


def same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "backslashreplace"), wanted.encode())
