"""A whole PayFlow for tests: web server, Celery workers, beat and Lava's emulator as processes of their own.

Its database is a copy of the test database, its Redis database is its own. Tests talk to it over HTTP and look at its rows
by SQL; they kill its processes by the ids that started them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from celery import current_app
from kombu import Connection

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
#: One per parallel test process: a worker must not take the tasks of another stack.
REDIS_DATABASE = 5 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PASSWORD = "a-long-live-password"
OPERATOR = ("operator@live.test", "operator-live-password")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


@dataclass
class Reply:
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def data(self) -> Any:
        return self.body["data"]


def send(
    method: str,
    url: str,
    *,
    token: str = "",
    body: Any = None,
    form: dict[str, str] | None = None,
    raw: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """One HTTP call; redirects are not followed."""
    sent = dict(headers or {})
    data = raw
    if token:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None:
        data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    if form is not None:
        data = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data=data, headers=sent, method=method)
    try:
        with _OPENER.open(request, timeout=60) as response:
            status, content, got = response.status, response.read(), dict(response.headers)
    except urllib.error.HTTPError as error:
        status, content, got = error.code, error.read(), dict(error.headers)
    try:
        return Reply(status, json.loads(content), got)
    except ValueError:
        return Reply(status, content, got)


def eventually(look: Callable[[], Any], what: str, *, seconds: float = 30) -> Any:
    """Polls until `look` gives something true; fails the test with `what` where it doesn't."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s for {what}")


@dataclass
class Stack:
    folder: Path
    database_url: str
    redis_url: str
    broker_url: str
    port: int = 0
    sandbox_port: int = 0
    lava_port: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAVA_", "PAYFLOW_"))}
        return {
            **kept,
            "DJANGO_SETTINGS_MODULE": "payflow.settings.dev",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "CELERY_BROKER_URL": self.broker_url,
            "PAYFLOW_BASE_URL": self.url,
            "APP_URL": self.url,
            "SECRET_KEY": "live-tests-only-0123456789abcdef0123456789abcdef",
            # A process of its own: eight subscribers at once must not take the threads that answer them.
            "SANDBOX_BASE_URL": f"http://127.0.0.1:{self.sandbox_port}/sandbox",
            "LAVA_API_KEY": "live_lava_key",
            "LAVA_SECRET_KEY": "live_lava_secret",
            "LAVA_BASE_URL": f"http://127.0.0.1:{self.lava_port}/v1",
            "PAYFLOW_ADMIN_EMAIL": OPERATOR[0],
            "PAYFLOW_ADMIN_PASSWORD": OPERATOR[1],
            "RATE_LIMIT_AUTH": "100000",
            "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
            "PYTHONUNBUFFERED": "1",
        }

    # --- processes ---

    def start(self) -> None:
        self.take_ports()
        self.run("manage.py", "seed")
        self.spawn("lava", [sys.executable, "-m", "tests.emulators.lava", "--port", str(self.lava_port)])
        self.web("web", self.port)
        self.web("sandbox", self.sandbox_port)
        self.worker("worker")
        self.wait_until_ready()

    def take_ports(self) -> None:
        self.port, self.sandbox_port, self.lava_port = _free_port(), _free_port(), _free_port()

    def wait_until_ready(self, port: int = 0) -> None:
        """Until the web server (or the one at `port`) answers."""
        eventually(lambda: self._ready(port or self.port), "the web server", seconds=60)

    def web(self, name: str, port: int) -> None:
        serve = ["--interface", "wsgi", "payflow.wsgi:application", "--host", "127.0.0.1", "--port", str(port)]
        self.spawn(name, [str(BIN / "granian"), *serve, "--workers", "1", "--blocking-threads", "8", "--no-ws"])

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        """A Celery worker with two processes, in a process group of its own so that kill -9 reaches both."""
        command = [str(BIN / "celery"), "-A", "payflow", "worker", "--concurrency", "2", "--loglevel", "INFO"]
        return self.spawn(name, [*command, "-n", f"{name}@live", "--without-gossip", "--without-mingle"])

    def beat(self) -> subprocess.Popen[bytes]:
        command = [str(BIN / "celery"), "-A", "payflow", "beat", "--loglevel", "INFO"]
        return self.spawn("beat", [*command, "--schedule", str(self.folder / "beat")])

    def spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def kill(self, name: str) -> None:
        """kill -9 of the process and of its children, which are in its group."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def run(self, *command: str, seconds: float = 120, **changed: str) -> str:
        """What a Python program of ours prints; `changed` are variables of its environment."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.env | changed,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sweep(self, name: str = "subscriptions_due", *, times: int = 1) -> None:
        """Sends what beat sends."""
        # The connection is named: CELERY_BROKER_URL of the environment would win over a client's own setting.
        with Connection(self.broker_url) as connection:
            for _ in range(times):
                current_app.send_task(
                    "payflow.core.tasks.run_sweep", args=[name], ignore_result=True, connection=connection
                )

    # --- looking ---

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *params: Any) -> Any:
        return self.sql(query, *params)[0][0]

    def _ready(self, port: int) -> bool:
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} died: {(self.folder / f'{name}.log').read_text()[-3000:]}"
        try:
            return send("GET", f"http://127.0.0.1:{port}/health/ready").status == 200
        except OSError:
            return False

    # --- using ---

    def api(self, method: str, path: str, *, token: str = "", body: Any = None, headers: Any = None) -> Reply:
        return send(method, f"{self.url}/api/v1/{path}", token=token, body=body, headers=headers)

    def visitor(self) -> Visitor:
        email = f"{uuid.uuid4().hex[:12]}@live.test"
        made = self.api("POST", "auth/register", body={"email": email, "password": PASSWORD})
        assert made.status == 201, made.body
        tokens = self.api("POST", "auth/token", body={"email": email, "password": PASSWORD})
        return Visitor(self, made.data["id"], tokens.data["access"])

    def operator(self) -> str:
        tokens = self.api("POST", "auth/token", body={"email": OPERATOR[0], "password": OPERATOR[1]})
        token: str = tokens.data["access"]
        return token

    def move_clock_past(self, moment: str, *, minutes: int = 1) -> None:
        """Sets business time without running anything: the workers shall find what is due."""
        self.sql(
            "INSERT INTO clock_offset AS c (id, ahead) VALUES (1, %s::timestamptz + make_interval(mins => %s) - now())"
            " ON CONFLICT (id) DO UPDATE SET ahead = greatest(c.ahead, EXCLUDED.ahead)",
            moment,
            minutes,
        )


@dataclass
class Visitor:
    stack: Stack
    id: str
    token: str

    def subscribe(self, provider: str = "sandbox", plan: str = "premium") -> Reply:
        return self.stack.api("POST", "subscriptions/", token=self.token, body={"plan_id": plan, "provider": provider})

    def buy(self, provider: str = "sandbox", *, card: str = "ok") -> dict[str, Any]:
        """Subscribes, pays and waits until the webhook has activated it."""
        bought = self.subscribe(provider)
        assert bought.status == 201, bought.body
        form = {"outcome": "pay", "card": card} if provider == "sandbox" else {"outcome": "pay"}
        assert send("POST", bought.data["checkout_url"], form=form).status == 303
        eventually(lambda: self.me()["status"] == "active", "the activation")
        return {**self.me(), "order_ref": bought.data["checkout"]["order_ref"]}

    def me(self) -> dict[str, Any]:
        data: dict[str, Any] = self.stack.api("GET", "subscriptions/me", token=self.token).data
        return data

    def counts(self) -> dict[str, int]:
        """How many rows of each kind exist for this user."""
        tables = {
            "subscriptions": "user_id = %s",
            "checkouts": "user_id = %s",
            "invoices": "user_id = %s",
            "payment_transactions": "user_id = %s",
            "ledger_postings": "user_id = %s",
            "billing_periods": "subscription_id IN (SELECT id FROM subscriptions WHERE user_id = %s)",
            "subscription_events": "subscription_id IN (SELECT id FROM subscriptions WHERE user_id = %s)",
        }
        return {
            table: self.stack.one(f"SELECT count(*) FROM {table} WHERE {where}", self.id)
            for table, where in tables.items()
        }


@contextlib.contextmanager
def stack_on(template: str, folder: Path) -> Iterator[Stack]:
    """A running stack whose database is a copy of `template`, which nobody is connected to."""
    with database_on(template) as database_url:
        stack = Stack(folder, database_url, *redis_urls(REDIS_DATABASE))
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@contextlib.contextmanager
def database_on(template: str) -> Iterator[str]:
    """The URL of a database that is a copy of `template`, to which nobody is connected; dropped at the end."""
    name = f"payflow_live_{uuid.uuid4().hex[:8]}"
    admin_url = os.environ["DATABASE_URL"]
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield urllib.parse.urlsplit(admin_url)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def redis_urls(number: int) -> tuple[str, str]:
    """Of the cache and of the broker, both in that Redis database."""
    url = os.environ["REDIS_URL"]
    if url.startswith("unix://"):
        path = urllib.parse.urlsplit(url).path
        return f"unix://{path}?db={number}", f"redis+socket://{path}?virtual_host={number}"
    own = re.sub(r"/\d*$", "", url) + f"/{number}"
    return own, own


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
