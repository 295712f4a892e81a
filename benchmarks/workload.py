"""What a workload is: data to prepare, then sides that are measured in turn: the feature, its baseline, references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Options:
    """The size of a run. Everything is bounded: by seconds and, where each request is new, by count."""

    rounds: int = 3
    seconds: float = 5.0
    warmup: float = 2.0
    connections: int = 16
    users: int = 10_000
    workers: int = 2
    threads: int = 2


@dataclass(frozen=True)
class Bench:
    """What a side may use: the server, a folder for files, and the CPU that each part has used so far."""

    port: int
    folder: Path
    options: Options
    cpu: Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Sample:
    """One side in one round. Times in seconds; `cpu` by part (web, postgres, redis, load)."""

    operations: int
    seconds: float
    p50: float
    p99: float
    cpu: Mapping[str, float] = field(default_factory=dict)

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

    def measure(self, bench: Bench, seconds: float) -> Sample:
        """Loads it for about so long. Raises WrongAnswer where what happened is not what is measured."""
        ...


class WrongAnswer(Exception):
    """The server did something else than the benchmark believes: there is no figure to report."""


class Workload(ABC):
    """`target` is the ratio of feature to baseline that is wanted."""

    name: str
    what: str
    target: float | None = None

    @abstractmethod
    def prepare(self, bench: Bench) -> None:
        """Makes the data. The database is migrated and the server is up."""

    @abstractmethod
    def sides(self) -> Sequence[Side]:
        """The feature, its baseline, and further references that the ratio does not look at."""
