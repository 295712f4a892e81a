"""Real processes of PayFlow for tests of recovery: ordinary ones, and ones that are killed at a boundary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from tests.live.stack import ROOT, eventually
from tests.providers.sandbox_sold import BILLING, providers
from tests.providers.sandbox_support import KEY, SECRET

KILLED = -9
#: Another account of the sandbox, as those processes know it.
SECOND, SECOND_KEY, SECOND_SECRET = "second", "second_demo_key", "second_demo_webhook_secret"
#: How the database names the connections of these processes.
NAME = "payflow_recovery"

Step = dict[str, Any]


@dataclass(frozen=True)
class Life:
    """One process from its fork to its end."""

    status: int
    boundaries: list[str]
    results: list[Any]

    @property
    def was_killed(self) -> bool:
        return self.status == KILLED


class Processes:
    """Forks of one launcher, whose database is the test's and whose provider is the sandbox of the live server."""

    def __init__(self, launcher: subprocess.Popen[str]) -> None:
        self._launcher = launcher

    def live(self, *steps: Step, kill_at: int = 0) -> Life:
        """A process that does `steps`, and dies at the boundary with the number `kill_at` if it gets there."""
        assert self._launcher.stdin is not None
        assert self._launcher.stdout is not None
        self._launcher.stdin.write(json.dumps({"steps": steps, "kill_at": kill_at}) + "\n")
        self._launcher.stdin.flush()
        life = Life(**json.loads(self._launcher.stdout.readline()))
        assert life.status in (0, KILLED), f"exit status {life.status}: see the launcher's standard error"
        # PostgreSQL needs a moment to see that its client is dead; until then the locks are held.
        eventually(_nobody_is_connected, "the end of its connections")
        return life


@contextmanager
def processes_at(url: str) -> Iterator[Processes]:
    """The launcher, once it stands by; `url` is where the live server listens."""
    database = urllib.parse.urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    billing = providers(url)[BILLING]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.recovery.settings",
        "DATABASE_URL": database.geturl(),
        "PGAPPNAME": NAME,
        "PAYFLOW_BASE_URL": url,
        "SANDBOX_BASE_URL": f"{url}/sandbox",
        "SANDBOX_API_KEY": KEY,
        "SANDBOX_WEBHOOK_SECRET": SECRET,
        "SANDBOX_BILLING_API_KEY": billing["api_key"],
        "SANDBOX_BILLING_WEBHOOK_SECRET": billing["webhook_secret"],
        "SANDBOX_SECOND_NAME": SECOND,
        "RATE_LIMIT_API": "0",
    }
    launcher = subprocess.Popen(
        [sys.executable, "-m", "tests.recovery.launcher"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        yield Processes(launcher)
    finally:
        launcher.kill()
        launcher.wait(10)


def sweep(name: str, *, now: datetime) -> Step:
    """One batch of a registered sweep."""
    return {"do": "sweep", "name": name, "now": now.isoformat()}


def recover(*, now: datetime, without: tuple[str, ...] = ()) -> Step:
    """Every sweep that beat calls, at `now` and after every lease in real time, until none finds anything."""
    return {"do": "recover", "now": now.isoformat(), "without": without}


def request(method: str, path: str, body: str, headers: dict[str, str]) -> Step:
    """One HTTP request, answered by this process."""
    return {"do": "request", "method": method, "path": path, "body": body, "headers": headers}


def _nobody_is_connected() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = %s)", [NAME])
        return bool(cursor.fetchone()[0])
