"""The network between an adapter and its peer, and the box that the peer's deliveries fall into."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.providers.conformance.pack import Delivery, Sent

#: How much an answer without an end sends before it gives up: more than any client may read.
ENDLESS = 32 * 1024 * 1024
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host", "keep-alive"})


@dataclass(frozen=True)
class Answer:
    """What the wire says in the peer's place."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


class Trouble:
    """What can befall one request. An `Answer` is one too: the peer never hears of the request."""

    #: The peer does what it is asked, and its answer is lost.
    LOST = "lost"
    #: Nobody answers.
    SILENT = "silent"
    #: An answer that never ends.
    ENDLESS = "endless"


class Wire:
    """A proxy: every call of the adapter goes through it to the peer, unless trouble is due."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.read_of_endless = 0
        self._target = ""
        self._trouble: Answer | str | None = None
        self._reads_too = True
        self._is_read: Callable[[str, str], bool] = _is_get
        self._released = threading.Event()
        wire = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                wire._handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def to(self, api: str, *, is_read: Callable[[str, str], bool] | None = None) -> str:
        """The address at which `api` is reached through the wire. Forgets what was before.

        `is_read` of a method and a path: does the request change nothing? By default a GET.
        """
        parts = urlsplit(api)
        self._target, self._is_read = parts.netloc, is_read or _is_get
        self.calm()
        self.sent.clear()
        return f"http://127.0.0.1:{self._server.server_port}{parts.path}"

    def always(self, trouble: Answer | str, *, reads_too: bool = True) -> None:
        """What befalls every request until `calm`; without `reads_too` those only that may change something."""
        self._trouble, self._reads_too = trouble, reads_too

    def calm(self) -> None:
        self._trouble = None

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.sent.append(Sent(handler.command, handler.path, headers, body))
        trouble = self._trouble if self._reads_too or not self._is_read(handler.command, handler.path) else None
        if isinstance(trouble, Answer):
            _write(handler, trouble.status, trouble.headers, trouble.body)
        elif trouble == Trouble.SILENT:
            handler.close_connection = True
            self._released.wait(30)
        elif trouble == Trouble.ENDLESS:
            self._pour(handler)
        else:
            status, answered, content = self._pass_on(handler.command, handler.path, dict(handler.headers), body)
            if trouble == Trouble.LOST:
                handler.close_connection = True
                return
            _write(handler, status, answered, content)

    def _pass_on(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        connection = HTTPConnection(self._target, timeout=20)
        try:
            kept = {name: value for name, value in headers.items() if name.lower() not in _HOP}
            connection.request(method, path, body or None, {**kept, "Host": self._target})
            answer = connection.getresponse()
            return answer.status, tuple(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _pour(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        self.read_of_endless = 0
        with contextlib.suppress(OSError):  # the client hangs up, as it should
            while self.read_of_endless < ENDLESS:
                handler.wfile.write(b"[" * 65536)
                self.read_of_endless += 65536


def _is_get(method: str, path: str) -> bool:
    return method == "GET"


def _write(handler: BaseHTTPRequestHandler, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    # Without a Date of the wire's own: a provider's answer is dated by the provider's clock.
    handler.send_response_only(status)
    for name, value in headers:
        if name.lower() not in _HOP:
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@dataclass
class Letterbox:
    """Where the peer delivers: everything is kept and answered 200; who opens it decides what PayFlow gets, and when."""

    letters: list[Delivery] = field(default_factory=list)
    url: str = ""
    _server: Any = field(default=None, repr=False)

    @classmethod
    def open(cls) -> Letterbox:
        box = cls()

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                box.letters.append(Delivery({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        box._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        box._server.daemon_threads = True
        threading.Thread(target=box._server.serve_forever, args=(0.01,), daemon=True).start()
        box.url = f"http://127.0.0.1:{box._server.server_port}"
        return box

    def emptied(self) -> list[Delivery]:
        """What has come, in its order; the box is empty then."""
        letters, self.letters[:] = list(self.letters), []
        return letters

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def untrusted_peer(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """An https server whose certificate nobody has signed; yields its address and the bytes it could read."""
    certificate, key = _self_signed(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            heard.append(self.raw_requestline)
            _write(self, 200, (("Content-Type", "application/json"),), b"{}")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that refuses the certificate breaks the handshake: that is what is wanted."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.fromtimestamp(time.time(), UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "peer.pem", folder / "peer.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return paths
