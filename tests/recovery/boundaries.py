"""The moments at which a process can die between two steps: each COMMIT and each call over HTTP, before it and after it.

Counts them, says which they were, and kills the process at the n-th. It wraps what the libraries do; nothing of ours is
replaced.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper


class Boundaries:
    """Tells of each boundary as a line in the file `told`; at the one with the number `kill_at` the process is no more."""

    def __init__(self, told: int, *, kill_at: int) -> None:
        self._told = told
        self._left = kill_at
        self._lock = threading.Lock()  # renewals ask the provider from several threads

    def reach(self, name: str) -> None:
        with self._lock:
            os.write(self._told, f"{name}\n".encode())
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it the process's transactions, single statements and calls are counted."""
        commit, call = DatabaseWrapper._commit, httpx.HTTPTransport.handle_request

        def watched_commit(wrapper: DatabaseWrapper) -> None:
            self._around("COMMIT", lambda: commit(wrapper))

        def watched_call(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            name = f"{request.method} {request.url.path.split('/')[-1]}"
            return self._around(name, lambda: call(transport, request))

        def watched_statement(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
            """Outside a transaction each statement that writes is one of its own."""
            if context["connection"].in_atomic_block or sql.lstrip().upper().startswith("SELECT"):
                return execute(sql, params, many, context)
            return self._around(" ".join(sql.split()[:3]), lambda: execute(sql, params, many, context))

        DatabaseWrapper._commit, httpx.HTTPTransport.handle_request = watched_commit, watched_call
        try:
            with connection.execute_wrapper(watched_statement):
                yield
        finally:
            DatabaseWrapper._commit, httpx.HTTPTransport.handle_request = commit, call

    def _around(self, name: str, step: Callable[[], Any]) -> Any:
        self.reach(f"before {name}")
        done = step()
        self.reach(f"after {name}")
        return done
