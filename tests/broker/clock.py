"""What is to be done, in order, on a clock that only moves when it is told to."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from tests.broker.model import Model

Work = Callable[[], None]


class Clock:
    """What is to be done, now and later, for all lines to one broker."""

    def __init__(self, model: Model) -> None:
        """Keep the time of *model*."""
        self.model = model
        self.work: deque[Work] = deque()
        self.idle: list[Work] = []
        self._timers: list[tuple[timedelta, int, Work]] = []
        self._serial = 0

    def later(self, delay: timedelta, function: Work) -> Work:
        """Have *function* called after *delay*; returns a function that takes it back."""
        wanted = [True]

        def due() -> None:
            if wanted:
                function()

        self._serial += 1
        heapq.heappush(self._timers, (self.model.now + max(timedelta(), delay), self._serial, due))
        return wanted.clear

    @property
    def next_due(self) -> timedelta | None:
        """When something happens next."""
        moments = [self.model.next_expiry, self._timers[0][0] if self._timers else None]
        return min((moment for moment in moments if moment is not None), default=None)

    def settle(self, stopped: Callable[[], bool]) -> None:
        """Do all that is to be done now, batch by batch, until nothing is left or *stopped*."""
        while not stopped():
            self.model.expire()
            while self._timers and self._timers[0][0] <= self.model.now:
                self.work.append(heapq.heappop(self._timers)[2])
            if self.work:
                for _ in range(len(self.work)):
                    self.work.popleft()()
            elif not self.model.deliver():
                idle, self.idle = self.idle, []
                for function in idle:
                    function()
                if not (idle or self.work):
                    return
