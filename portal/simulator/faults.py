"""What goes wrong, decided by the seed alone.

Each subscriber has a stream of luck of his own, so that the order in which a sweep takes its rows changes nobody's. Random
keys of rows decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import Any

from django.db import connection

#: Without faults news takes this long.
PROMPT = timedelta(seconds=2)


class WorkerKilled(BaseException):
    """The process died here. Not an Exception: no handler of ours may survive it, as none survives kill -9."""


class Slip(StrEnum):
    """What becomes of one call to the provider that should have answered."""

    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    KILLED_BEFORE = "killed_before"
    KILLED_AFTER = "killed_after"


class Luck:
    """The faults that one subscriber meets. Without `faults` there are none."""

    def __init__(self, seed: int, who: str, *, faults: bool) -> None:
        self._random = Random(f"{seed}/luck/{who}")
        self._faults = faults

    def turn(self) -> None:
        """Nothing goes wrong any more."""
        self._faults = False

    def strikes(self, share: float) -> bool:
        """One draw, even where there are no faults, so that the stream stays in step."""
        return self._random.random() < share and self._faults

    def slip(self) -> Slip | None:
        """What happens to a call: some one in eight goes wrong."""
        draw, which = self._random.random(), self._random.choice(list(Slip))
        return which if self._faults and draw < 0.12 else None

    def arrivals(self) -> list[timedelta]:
        """When each copy of a piece of news arrives: late ones are overtaken, some come twice or three times."""
        draw, delay = self._random.random(), self._random.randint(1, 90)
        far, again = self._random.randint(1, 60) * 3600 + 7, self._random.randint(1, 50) * 1800 + 3
        if not self._faults:
            return [PROMPT]
        first = timedelta(seconds=far if draw < 0.08 else delay)
        copies = [first]
        if draw > 0.8:
            copies.append(first + timedelta(seconds=again))
        if draw > 0.97:
            copies.append(first)
        return copies


class Killer:
    """Kills a piece of work at its n-th SQL statement: between any two steps, and inside its transactions."""

    def __init__(self) -> None:
        self.killed = 0

    @contextmanager
    def after(self, statements: int) -> Iterator[None]:
        left = statements

        def strike(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                self.killed += 1
                raise WorkerKilled
            return execute(sql, params, many, context)

        with connection.execute_wrapper(strike):
            yield
