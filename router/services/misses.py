"""What is reported when the queue of a service drops events, once for each stretch of time in which it does.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

QUIET = timedelta(minutes=10)
"""How long nothing may be dropped before a stretch has ended."""


@dataclass(frozen=True, slots=True)
class ServiceBehind:
    """The queue of *service* is full and drops its oldest events: *count* so far."""

    service: str
    count: int


@dataclass(frozen=True, slots=True)
class ServiceBehindEnded:
    """The queue of *service* has dropped nothing for a while; *count* is how many events it dropped before."""

    service: str
    count: int


@dataclass(frozen=True, slots=True)
class Misses:
    """What is known of one service: *missed* events are kept for it; *count* of them since the stretch began.

    *grown* is when there were more of them for the last time.  *count* is 0 outside of a stretch.
    """

    missed: int
    count: int
    grown: datetime

    def look(
        self, service: str, missed: int, moment: datetime
    ) -> tuple[Misses, ServiceBehind | ServiceBehindEnded | None]:
        """Return what is known at *moment*, where *missed* events of *service* are kept, and what to report.

        >>> noon = datetime(2026, 12, 1, 12)
        >>> misses, found = Misses(0, 0, noon).look("tickets", 3, noon)
        >>> found
        ServiceBehind(service='tickets', count=3)
        >>> misses.look("tickets", 5, noon)[1]
        >>> misses.look("tickets", 0, noon + QUIET)[1]
        ServiceBehindEnded(service='tickets', count=3)
        """
        if missed > self.missed:
            count = self.count + missed - self.missed
            return Misses(missed, count, moment), None if self.count else ServiceBehind(service, count)
        if self.count and moment - self.grown >= QUIET:
            return Misses(missed, 0, self.grown), ServiceBehindEnded(service, self.count)
        # Fewer: they were replayed, or deleted.
        return Misses(missed, self.count, self.grown), None
