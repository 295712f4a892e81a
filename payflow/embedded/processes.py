"""How a process is started: as whom, in which group, and how it ends with us."""

import contextlib
import ctypes
import enum
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1

NOBODY = 65534
"""The usual unprivileged user. PostgreSQL refuses to run as root; nobody needs no account to be made."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class UserMode(enum.Enum):
    """As whom PostgreSQL runs. Only root needs anything but DIRECT."""

    DIRECT = "direct"
    USER_NAMESPACE = "userns"
    """Root outside, nobody inside: files stay root's, nothing is copied or handed over."""
    SET_UID = "setuid"
    """Where namespaces are refused (docker's default profile) or the path is closed to others: really nobody."""


class StopRequested(Exception):
    """The user or the system asked us to stop."""


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into `StopRequested` at the points where we wait, never in between."""

    def __init__(self) -> None:
        self.received: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup ./run: keep running when the terminal closes
            signal.signal(number, lambda received, _frame: self.received.append(received))

    def sleep(self, seconds: float) -> None:
        self.check()
        time.sleep(seconds)
        self.check()

    def check(self) -> None:
        if self.received:
            raise StopRequested


def choose_user_mode(*paths: Path) -> UserMode:
    """The mildest mode in which PostgreSQL will run and can reach `paths` (its programs and its data)."""
    if forced := os.environ.get("PAYFLOW_PG_MODE"):
        return UserMode(forced)
    if _libc is None or os.geteuid() != 0:
        return UserMode.DIRECT
    return UserMode.USER_NAMESPACE if _works_in_user_namespace(paths) else UserMode.SET_UID


def spawn(
    argv: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | None,
    mode: UserMode = UserMode.DIRECT,
    death_signal: int = signal.SIGTERM,
    folder: Path | None = None,
    keep_open: Sequence[int] = (),
    own_group: bool = True,
    typed: bytes = b"",
) -> subprocess.Popen[bytes]:
    """Starts a child which gets `death_signal` when we die, even by kill -9 (Linux).

    Own process group: Ctrl-C at the terminal reaches us only, and we stop the children in order. Call from the main
    thread: the kernel counts the death of the thread that forked. `typed` is what it reads on standard input (short).
    """
    stdin = subprocess.DEVNULL if own_group else None
    process = subprocess.Popen(
        argv,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.PIPE if typed else stdin,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        process_group=0 if own_group else None,
        pass_fds=keep_open,
        preexec_fn=_before_exec(mode, death_signal, os.getpid()),
    )
    if process.stdin:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(typed)
    return process


def run_once(
    argv: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    signals: Signals,
    folder: Path,
    output: IO[bytes] | None = None,
) -> int:
    """Runs a command to its end, at the user's terminal, and returns its exit status (minus the signal if killed).

    It shares our process group, so that a debugger inside pytest can read the keyboard and Ctrl-C reaches it directly.
    """
    signals.check()
    process = spawn(
        argv, environment=environment, output=output, death_signal=signal.SIGKILL, folder=folder, own_group=False
    )
    grace_ends = 0.0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(timeout=0.2)
            signals.check()
            return status
        if signals.received and not grace_ends:
            grace_ends = time.monotonic() + 5
            if signals.received[0] != signal.SIGINT:
                process.terminate()
        elif grace_ends and time.monotonic() > grace_ends:
            process.kill()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends what a dead or stuck child left behind in its group."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def describe_exit(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


def _before_exec(mode: UserMode, death_signal: int, parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if mode is UserMode.USER_NAMESPACE:
            _enter_user_namespace()
        elif mode is UserMode.SET_UID:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        if _libc is not None:
            # After the change of user, which clears it. Then look: the parent may have died before it was set.
            _libc.prctl(PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _enter_user_namespace() -> None:
    if _libc is None or _libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} 0 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} 0 1")


def _works_in_user_namespace(paths: Sequence[Path]) -> bool:
    """Tried in a child that is thrown away: entering cannot be undone, and a container may refuse it.

    Inside, root's right to pass every folder is gone: another user's 0700 home on the way makes the paths unreachable.
    """
    child = os.fork()
    if child == 0:
        answer = 1
        with contextlib.suppress(OSError):
            _enter_user_namespace()
            answer = 0 if all(os.access(path, os.R_OK | os.X_OK) for path in paths) else 1
        os._exit(answer)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
