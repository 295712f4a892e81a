"""What a workload is: data to prepare, then sides that are measured in turn: the feature, its baseline, references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Options:
    """The size of a run. Everything is bounded: by seconds, or by count where each request or row is new.

    `batch` 0 leaves it to the product's setting; the baseline then takes one of its own.
    """

    rounds: int = 3
    seconds: float = 5.0
    warmup: float = 2.0
    connections: int = 16
    users: int = 10_000
    workers: int = 2
    threads: int = 2
    scales: tuple[int, ...] = (3_000, 10_000, 30_000)
    others: int = 300_000
    batch: int = 0
    rows: tuple[int, ...] = (10_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Bench:
    """What a side may use: the server (port 0: there is none), a folder for files, the CPU each part has used so far."""

    port: int
    folder: Path
    options: Options
    cpu: Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Sample:
    """One side in one round. Times in seconds; `cpu` by part (web, workers, postgres, redis, load).

    `notes`: what else its row of the table shows, by the column's heading.
    """

    operations: int
    seconds: float
    p50: float
    p99: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def work(self) -> float:
        """CPU seconds of the server's side per operation. Other programs on the machine hardly change it."""
        return sum(used for part, used in self.cpu.items() if part != "load") / max(self.operations, 1)


class Side(Protocol):
    """One thing measured. `benchmarks.http.HttpSide` asks the server; another may call a function and time it."""

    @property
    def name(self) -> str: ...

    def measure(self, bench: Bench, amount: float, /) -> Sample:
        """Loads it for about `amount` seconds; of a workload with scales, `amount` is how many operations there are.

        Raises WrongAnswer where what happened is not what is measured.
        """
        ...


class WrongAnswer(Exception):
    """The server did something else than the benchmark believes: there is no figure to report."""


class Workload(ABC):
    """`target` is the ratio of feature to baseline that is wanted, `target_rate` what the feature does in a second."""

    name: str
    what: str
    target: float | None = None
    target_rate: float | None = None
    needs_web: bool = True
    #: What cannot be measured again in the same world is measured once, whatever the options say.
    most_rounds: int | None = None

    def scales(self, options: Options) -> Sequence[int]:
        """The sizes at which it is measured, smallest first; none where a side is loaded for a time.

        In a round each side is measured at every size before the next side's turn.
        """
        return ()

    @abstractmethod
    def prepare(self, bench: Bench) -> None:
        """Makes the data. The database is migrated, and the web server is up where the workload needs it."""

    @abstractmethod
    def sides(self) -> Sequence[Side]:
        """The feature, its baseline, and further references that the ratio does not look at."""
