"""A PostgreSQL and a Redis of our own with fsync on, or the user's, and the web server that is measured."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from payflow.embedded.console import Problem
from payflow.embedded.environment import ROOT, for_children, process_environment, start_servers
from payflow.embedded.postgres import Postgres
from payflow.embedded.processes import Signals
from payflow.embedded.run import free_port, wait_until_ready
from payflow.embedded.state import State
from payflow.embedded.supervisor import Service, Supervisor

SETTINGS = "benchmarks.settings"
TICKS = os.sysconf("SC_CLK_TCK")


class Servers:
    """Started by `running`; the web server by `start_web`, once the database is migrated."""

    def __init__(self, state: State, supervisor: Supervisor, signals: Signals, environment: dict[str, str]) -> None:
        self.state = state
        self.environment = environment
        self.signals = signals
        self._supervisor = supervisor

    def start_web(self, *, workers: int, threads: int) -> int:
        """The port on which granian answers, with the flags of production."""
        port = free_port()
        argv = [sys.executable, "-m", "granian", "--interface", "wsgi", "benchmarks.wsgi:application"]
        argv += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning"]
        argv += ["--workers", str(workers), "--blocking-threads", str(threads), "--workers-kill-timeout", "2s"]
        environment = self.environment | {"PROMETHEUS_MULTIPROC_DIR": str(self.state.empty_folder("prometheus"))}
        web = Service("web", argv, log=self.state.log("web"), environment=environment, folder=ROOT)
        web.keep_open = [self.state.lock]
        self._supervisor.start_child(web)
        wait_until_ready(self._supervisor, self.signals, "127.0.0.1", port)
        return port

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU used by each of our parts with all its children; empty where there is no /proc."""
        parts = {service.name: service.process.pid for service in self._supervisor.all() if service.process}
        used = dict(_processes())
        children: dict[int, list[int]] = {}
        for pid, (parent, _) in used.items():
            children.setdefault(parent, []).append(pid)

        def total(pid: int) -> float:
            return used[pid][1] + sum(total(child) for child in children.get(pid, ()))

        return {name: total(pid) for name, pid in parts.items() if pid in used}

    def end_of_web_log(self) -> str:
        """Empty where there is no web server."""
        ends = "".join(child.end_of_log(15) for child in self._supervisor.children)
        return f"the end of the web server's log:\n{ends}" if ends else ""


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """The database and Redis, for as long as the block runs. Their death takes ours along and the other way round."""
    signals = Signals()
    supervisor = Supervisor(signals)
    state: State | None = None
    try:
        state = State(folder, signals)
        environment = process_environment()
        # Not throwaway: fsync and synchronous_commit stay on, Redis writes its file.
        told = start_servers(environment, state, supervisor, signals)
        if not (told.get("REDIS_URL") or environment.get("REDIS_URL")):
            raise Problem("there is no Redis for this platform: set REDIS_URL to a server of yours")
        for server in supervisor.servers:
            if isinstance(server, Postgres):
                supervisor.at_end.append(server.remove)
        environment = for_children(environment, told) | _settings()
        yield Servers(state, supervisor, signals, environment)
    finally:
        supervisor.stop()
        if state:
            state.close()


def _settings() -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "127.0.0.1",
        "PAYFLOW_BASE_URL": "https://127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }


def _processes() -> Iterator[tuple[int, tuple[int, float]]]:
    """pid → (parent, CPU seconds; those of children that have ended count with the parent)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        yield int(path.parent.name), (int(fields[1]), sum(map(int, fields[11:15])) / TICKS)
