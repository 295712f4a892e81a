"""The state folder: everything one installation keeps, used by one supervisor at a time."""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from pathlib import Path

from .console import Problem, say
from .processes import Signals

LONGEST_SOCKET_FOLDER = 80
"""The kernel takes 107 characters for a socket's whole path (103 on macOS)."""

LEFTOVER_LIMIT = 30.0
"""Seconds that the children of a killed supervisor get to end: two, or five when a request was being served."""


class State:
    """An open, locked state folder. `close` gives it back."""

    def __init__(self, path: Path, signals: Signals) -> None:
        self.path = path.resolve()
        private_folder(self.path, hint="choose another folder with PAYFLOW_STATE_DIR")
        self.lock = self._lock(signals)
        self.logs = private_folder(self.path / "logs")
        self.sockets = self._socket_folder()

    def close(self) -> None:
        if self.sockets.parent != self.path:
            shutil.rmtree(self.sockets, ignore_errors=True)
        os.close(self.lock)

    @property
    def short_name(self) -> str:
        """Names this folder in places outside it."""
        return f"payflow-{os.geteuid()}-{hashlib.sha256(str(self.path).encode()).hexdigest()[:10]}"

    def secret_key(self) -> str:
        """Made once and kept: a new key at each start would log everybody out."""
        path = self.path / "secret_key"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(50))
        return path.read_text().strip()

    def log(self, name: str) -> Path:
        """A fresh log; the one before it is kept as NAME.log.1."""
        path = self.logs / f"{name}.log"
        if path.exists():
            path.replace(path.with_name(f"{name}.log.1"))
        return path

    def empty_folder(self, name: str) -> Path:
        shutil.rmtree(self.path / name, ignore_errors=True)
        return private_folder(self.path / name)

    def _lock(self, signals: Signals) -> int:
        """Held by us and, as an inherited descriptor, by our children: when we are killed and they are still ending, a
        new start waits for them instead of opening the same files, or the same port, a second time."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Problem(f"cannot write in {self.path}: {error.strerror}") from error
        deadline = time.monotonic() + LEFTOVER_LIMIT
        waiting = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(lock, 20, 0).decode().strip()
                if holder and _is_alive(int(holder)):
                    raise Problem(f"already running on {self.path} (process {holder})") from None
                if time.monotonic() > deadline:
                    raise Problem(
                        f"already running on {self.path}: the processes of an earlier start are not gone"
                    ) from None
            if not waiting:
                say("waiting for the processes of an earlier start to end")
                waiting = True
            signals.sleep(0.1)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return lock

    def _socket_folder(self) -> Path:
        """In the state folder, or in /tmp if that path is too long or would need quoting in a database URL."""
        inside = self.path / "sockets"
        if len(str(inside)) <= LONGEST_SOCKET_FOLDER and re.fullmatch(r"[\w./-]+", str(inside), re.ASCII):
            return private_folder(inside)
        return private_folder(Path("/tmp") / self.short_name)


def private_folder(path: Path, *, hint: str = "remove it", mode: int = 0o700) -> Path:
    """Makes the folder, closed to others, and refuses one that somebody else made.

    PostgreSQL and Redis ask for no password: a folder of 0700 on the way to their sockets is the whole protection.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Problem(f"cannot make the folder {path}: {error.strerror}; {hint}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise Problem(f"{path} is not a folder; {hint}")
    if found.st_uid != os.geteuid():
        raise Problem(f"{path} belongs to user {found.st_uid} and you are user {os.geteuid()}; {hint}")
    return path


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others, not for a moment."""
    new = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
