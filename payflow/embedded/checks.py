"""`./test`: everything CI runs, against servers made for the occasion."""

import contextlib
import fcntl
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .console import Problem, complain, say, show
from .environment import ROOT, for_children, process_environment, start_servers
from .processes import Signals, StopRequested, run_once
from .state import State
from .supervisor import Supervisor

FOLDER_PREFIX = "payflow-test-"
MANAGE = [sys.executable, "manage.py"]
SCHEMA = Path("docs/openapi.yaml")

#: By file, for a file's tests share what is dear to make; in their order, so that no long file of few tests comes last.
IN_PARALLEL = ["-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]

Step = tuple[str, Callable[[], bool]]


def run_checks(pytest_arguments: list[str]) -> int:
    """With arguments: only pytest with them. Returns 1 if anything failed, 130 if it was interrupted."""
    signals = Signals()
    supervisor = Supervisor(signals)
    state: State | None = None
    remove_abandoned_folders()
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    try:
        # .env is left alone: it may name servers with real data.
        environment = process_environment()
        state = State(folder, signals)
        told = start_servers(environment, state, supervisor, signals, throwaway=True)
        environment = for_children(environment, told)
        environment["DJANGO_SETTINGS_MODULE"] = "payflow.settings.test"
        environment.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)

        def command(*argv: str | Path) -> bool:
            return run_once(argv, environment=environment, signals=signals, folder=ROOT) == 0

        if pytest_arguments:
            return 0 if command(sys.executable, "-m", "pytest", *pytest_arguments) else 1
        return run_steps(all_steps(command, folder))
    except StopRequested:
        say("interrupted")
        return 130
    except Problem as problem:
        complain(problem)
        return 1
    finally:
        supervisor.stop()
        if state:
            state.close()
        shutil.rmtree(folder, ignore_errors=True)


def all_steps(command: Callable[..., bool], folder: Path) -> list[Step]:
    python = sys.executable
    return [
        ("ruff check", lambda: command(python, "-m", "ruff", "check", ".")),
        ("ruff format", lambda: command(python, "-m", "ruff", "format", "--check", ".")),
        ("mypy", lambda: command(python, "-m", "mypy")),
        ("import contracts", lambda: command("lint-imports")),
        ("migrations complete", lambda: command(*MANAGE, "makemigrations", "--check", "--dry-run")),
        ("django check", lambda: command(*MANAGE, "check", "--fail-level", "WARNING")),
        ("openapi", lambda: schema_is_current(command, folder / "openapi.yaml")),
        ("pytest", lambda: command(python, "-m", "pytest", *IN_PARALLEL)),
    ]


def run_steps(steps: list[Step]) -> int:
    """All of them, even after a failure: one run tells everything that is to be put right."""
    results = []
    for name, step in steps:
        show(f"\n=== {name}")
        started = time.monotonic()
        passed = step()
        results.append((name, passed, time.monotonic() - started))
        show(f"--- {name}: {'ok' if passed else 'FAILED'} in {results[-1][2]:.1f} s")
    show("\n=== summary")
    for name, passed, seconds in results:
        show(f"{'ok    ' if passed else 'FAILED'}  {name:<20} {seconds:6.1f} s")
    return 0 if all(passed for _, passed, _ in results) else 1


def schema_is_current(command: Callable[..., bool], made: Path) -> bool:
    if not command(*MANAGE, "spectacular", "--validate", "--fail-on-warn", "--file", made):
        return False
    kept = ROOT / SCHEMA
    if kept.exists() and kept.read_bytes() == made.read_bytes():
        return True
    show(f"{SCHEMA} is not what the code describes. Make it again:")
    show(f"    DJANGO_SETTINGS_MODULE=payflow.settings.test .venv/bin/python manage.py spectacular --file {SCHEMA}")
    return False


def remove_abandoned_folders() -> None:
    """What a killed ./test could not remove: older than an hour and locked by nobody."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = folder / "lock"
            if folder.lstat().st_uid != os.geteuid() or time.time() - lock.stat().st_mtime < 3600:
                continue
            with lock.open("r+") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
