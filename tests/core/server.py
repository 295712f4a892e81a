"""A foreign system in a thread: it answers by script, and keeps what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int = 200, body: bytes = b"{}", **headers: str) -> Reply:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return send


class Server:
    """Replies with the next of `script` (the last one again and again); `seen` has (method, path, headers, body)."""

    def __init__(self) -> None:
        self.script: list[Reply] = [reply()]
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        self._next = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with outer._lock:
                    outer.seen.append((self.command, self.path, dict(self.headers), body))
                    send = outer.script[min(outer._next, len(outer.script) - 1)]
                    outer._next += 1
                try:
                    send(self)
                except OSError:
                    pass  # the client has gone

            do_GET = do_POST = do_PUT = do_DELETE = _any

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *args: None
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """No answer until the test is over."""
        self.released.wait(20)

    def close(self) -> None:
        """Nobody listens any more."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Server:
        # The poll interval is how long `shutdown` takes.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
