"""What happens when: the simulated world's one queue, in order of business time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count

Happening = Callable[[], object]


class Agenda:
    """`now` is the world's business time; `end` is where acts of people stop, so that what they began can finish."""

    def __init__(self, now: datetime, end: datetime) -> None:
        self.now = now
        self.end = end
        self._queue: list[tuple[datetime, int, Happening]] = []
        self._order = count()

    def at(self, moment: datetime, what: Happening) -> None:
        heapq.heappush(self._queue, (max(moment, self.now), next(self._order), what))

    def later(self, delay: timedelta, what: Happening) -> None:
        self.at(self.now + delay, what)

    def next(self) -> datetime | None:
        """The moment of what comes first."""
        return self._queue[0][0] if self._queue else None

    def pop_due(self) -> Happening | None:
        """What is due now and came first, taken off the queue."""
        if self._queue and self._queue[0][0] <= self.now:
            return heapq.heappop(self._queue)[2]
        return None
