"""A gateway in front of the sandbox: lets something happen while a call of ours is under way, in its thread, by real HTTP."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from django.db import connections

from tests.flows import Shop


@contextlib.contextmanager
def while_asked(
    shop: Shop, part: str, *, before: Callable[[], Any] | None = None, after: Callable[[], Any] | None = None
) -> Iterator[list[str]]:
    """Calls whose path has `part`: `before` they reach the sandbox, `after` it has answered and we have not heard.

    Yields the paths that were passed on.
    """
    target = urlsplit(shop.url).netloc
    passed: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            mine = part in self.path
            if mine:
                _run(before)
            connection = HTTPConnection(target, timeout=5)
            connection.request(self.command, self.path, body, {**dict(self.headers), "Host": target})
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            passed.append(self.path)
            if mine:
                _run(after)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type") or "")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _pass_on

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    shop.reached_by(f"http://127.0.0.1:{server.server_port}/sandbox")
    try:
        yield passed
    finally:
        shop.reachable()
        server.shutdown()
        server.server_close()
        thread.join()


def _run(what: Callable[[], Any] | None) -> None:
    if what is None:
        return
    try:
        what()
    finally:
        connections.close_all()
