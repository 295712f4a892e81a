"""What the flavours' servers share: a server on loopback that is started and stopped, and one request's wire."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast
from urllib.parse import unquote, urlsplit

from tests.emulators.lava.deliveries import Deliveries
from tests.emulators.lava.messages import MAX_BODY, Refusal, dump


class Listening(Deliveries):
    """An emulator's server. Every method but `start` and `stop` is safe from any thread."""

    #: By how much Lava's clock is ahead of real time.
    ahead = timedelta(0)
    #: Where its clock stands still, if it does.
    stands_at: datetime | None = None

    def listen(self, handler: type[BaseHTTPRequestHandler], port: int) -> None:
        self._thread: threading.Thread | None = None
        self._server = _Server(("127.0.0.1", port), handler, self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.origin}>"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        return self.origin

    def now(self) -> datetime:
        return self.stands_at or datetime.now(UTC) + self.ahead

    def start(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], lava: Listening) -> None:
        self.lava = lava
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up is not worth a traceback; our own mistake is."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


Lava = TypeVar("Lava", bound=Listening)


class Handler(BaseHTTPRequestHandler, Generic[Lava]):
    protocol_version = "HTTP/1.1"
    timeout = 30

    @property
    def lava(self) -> Lava:
        return cast(Lava, cast(_Server, self.server).lava)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of an answer is by Lava's clock."""
        return format_datetime(self.lava.now(), usegmt=True)

    def parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise Refusal(411, "Content-Length is required")
        if int(length) > MAX_BODY:
            raise Refusal(413, "the body is too large")
        return self.rfile.read(int(length))

    def answer(self, route: Callable[[], None]) -> None:
        self.close_connection = True
        try:
            route()
        except Refusal as refusal:
            self.refused(refusal)
        except (ValueError, TypeError, OverflowError):
            self.refused(Refusal(400, "the request cannot be read"))

    def refused(self, refusal: Refusal) -> None:
        self.json(refusal.status, {"error": str(refusal)})

    def silence(self, seconds: float) -> None:
        """No answer: the caller waits, then the line is cut."""
        self.lava.pause(seconds)
        self.connection.shutdown(socket.SHUT_RDWR)

    def json(self, status: int, value: Any, **headers: str) -> None:
        self.write(status, "application/json", dump(value).encode(), headers)

    def html(self, page: str) -> None:
        self.write(200, "text/html; charset=utf-8", page.encode(), {})

    def redirect(self, url: str) -> None:
        self.write(303, "text/plain", b"", {"Location": url.replace("\r", "").replace("\n", "")})

    def write(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
