"""Keeps a set of services running: starts them, restarts the dead, stops all in order."""

import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .console import Problem, last_lines, say
from .processes import Signals, UserMode, describe_exit, kill_group, spawn

RESTART_LIMIT = 5
RESTART_WINDOW = 60.0
"""Five deaths within a minute are no accident: a sixth start would hide the fault and fill the disk with logs."""


class Service:
    """A long-running child. Servers that must be waited for override `prepare` and `is_ready`."""

    stop_signal: int = signal.SIGTERM
    stop_limit: float = 15.0
    """Then it is killed. For a worker: how long the task in hand may go on."""
    start_limit: float = 30.0
    mode: UserMode = UserMode.DIRECT

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        folder: Path | None = None,
        death_signal: int = signal.SIGTERM,
        keep_open: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.argv = argv
        self.log = log
        self.environment = environment
        self.folder = folder
        self.death_signal = death_signal
        self.keep_open = keep_open
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """What must be true before each start."""

    def is_ready(self) -> bool:
        return True

    def start(self, signals: Signals) -> None:
        """Returns when the service is ready. Raises Problem if it ends first or takes too long."""
        signals.check()
        self.prepare()
        with self.log.open("ab") as output:
            self.process = spawn(
                self.argv,
                environment=self.environment,
                output=output,
                mode=self.mode,
                death_signal=self.death_signal,
                folder=self.folder,
                keep_open=self.keep_open,
            )
        deadline = time.monotonic() + self.start_limit
        while not self.is_ready():
            status = self.process.poll()
            if status is not None:
                raise Problem(
                    f"{self.name} did not start ({describe_exit(status)}), see {self.log}\n{self.end_of_log()}"
                )
            if time.monotonic() > deadline:
                raise Problem(f"{self.name} was not ready after {self.start_limit:.0f} s, see {self.log}")
            signals.sleep(0.01)

    def exit_status(self) -> int | None:
        return self.process.poll() if self.process else None

    def end_of_log(self, count: int = 8) -> str:
        return last_lines(self.log, count)

    def ask_to_stop(self) -> None:
        """To the main process only: granian and celery end their own workers after the work in hand."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)

    def kill(self) -> None:
        if self.process:
            kill_group(self.process)
            self.process = None


class Supervisor:
    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self.servers: list[Service] = []
        """PostgreSQL and Redis: stopped last, one by one, in reverse order."""
        self.children: list[Service] = []
        """The product's processes: stopped first, all at once."""
        self.at_end: list[Callable[[], None]] = []
        self._deaths: dict[str, list[float]] = defaultdict(list)

    def start_server(self, server: Service) -> None:
        self.servers.append(server)
        server.start(self.signals)

    def start_child(self, child: Service) -> None:
        self.children.append(child)
        child.start(self.signals)

    def tend(self) -> None:
        """Restarts what has died. Raises Problem when one dies too often, StopRequested when it is time to go."""
        self.signals.check()
        for service in self.all():
            status = service.exit_status()
            if status is None:
                continue
            now = time.monotonic()
            recent = [moment for moment in self._deaths[service.name] if now - moment < RESTART_WINDOW]
            what = f"{service.name} ended ({describe_exit(status)}); the end of {service.log}:\n{service.end_of_log()}"
            if len(recent) >= RESTART_LIMIT:
                raise Problem(
                    f"{what}\n{service.name} was restarted {RESTART_LIMIT} times "
                    f"within {RESTART_WINDOW:.0f} s and died again: stopping everything"
                )
            self._deaths[service.name] = [*recent, now]
            say(f"{what}\n    restarting it ({len(recent) + 1} of {RESTART_LIMIT})")
            service.kill()
            self.signals.sleep(0.2 * len(recent))
            try:
                service.start(self.signals)
            except Problem:
                if service.exit_status() is None:
                    raise
                # It has ended again: the next round counts it.

    def all(self) -> list[Service]:
        return [*self.servers, *self.children]

    def stop(self) -> None:
        self._stop_together(self.children)
        for server in reversed(self.servers):
            self._stop_together([server])
        for clean_up in self.at_end:
            clean_up()

    def _stop_together(self, services: Sequence[Service]) -> None:
        """A second Ctrl-C means: now."""
        for service in services:
            service.ask_to_stop()
        started = time.monotonic()
        for service in services:
            while service.process and service.exit_status() is None:
                if len(self.signals.received) > 1 or time.monotonic() - started > service.stop_limit:
                    say(f"{service.name} did not stop by itself: killing it")
                    break
                time.sleep(0.02)
            service.kill()
