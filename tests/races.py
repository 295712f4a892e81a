"""Races in one process: callers in threads of their own, brought together at a lock that somebody else holds."""

from __future__ import annotations

import threading
import time
from collections import Counter

from django.db import connection, transaction

#: Longer than any machine needs; what hangs must not hang the tests.
PATIENCE = 30


class Race:
    """Callers in threads of their own, each in one transaction on a connection of its own."""

    def __init__(self):
        self.outcomes = []
        self._threads = []
        self._backends = []

    def start(self, call, *arguments):
        def run():
            try:
                with transaction.atomic():
                    self._backends.append(connection.connection.info.backend_pid)
                    self.outcomes.append(type(call(*arguments)).__name__)
            except Exception as error:  # noqa: BLE001 - every outcome is counted, unforeseen ones too
                self.outcomes.append(type(error).__name__)
            finally:
                connection.close()

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def everybody_waits(self):
        """Returns once each caller is blocked by a lock."""
        deadline = time.monotonic() + PATIENCE
        while self._waiting() < len(self._threads):
            assert time.monotonic() < deadline, f"{self._waiting()} of {len(self._threads)} wait: {self.outcomes}"
            time.sleep(0.01)

    def finish(self):
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)
        return Counter(self.outcomes)

    def _waiting(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM unnest(%s::int[]) AS pid WHERE cardinality(pg_blocking_pids(pid)) > 0",
                [list(self._backends)],
            )
            return cursor.fetchone()[0]
