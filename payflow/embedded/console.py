"""What the user sees: plain lines, and one clear line when something is wrong."""

import contextlib
import sys
import time
from pathlib import Path

_started = time.monotonic()


class Problem(Exception):
    """Something the user can put right. Its text is the whole message: no traceback is shown."""


def say(message: str) -> None:
    """Prints a line with the seconds since the start. A closed pipe (`./run | head`) must not stop the servers."""
    with contextlib.suppress(OSError):
        print(f"[{time.monotonic() - _started:6.2f}s] {message}", flush=True)


def complain(problem: Problem) -> None:
    with contextlib.suppress(OSError):
        print(f"payflow: {problem}", file=sys.stderr, flush=True)


def show(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, flush=True)


def last_lines(path: Path, count: int) -> str:
    """The end of a log, indented. Reads 16 kB at most: logs grow."""
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 16_384))
        lines = log.read().decode(errors="replace").splitlines()[-count:]
        return "\n".join(f"    {line}" for line in lines)
    return ""
