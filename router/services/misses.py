"""What is reported when the queue of a service drops events, once for each stretch of time in which it does.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .backlog import Backlog

QUIET = timedelta(minutes=10)
"""How long nothing may be dropped before a stretch has ended."""

_LONG = timedelta(minutes=1)
"""How long events must wait before it is remembered since when: most queues are emptied all the time."""


@dataclass(frozen=True, slots=True)
class ServiceBehind:
    """The queue of *service* is full and drops its oldest events: *count* so far."""

    service: str
    count: int


@dataclass(frozen=True, slots=True)
class ServiceBehindEnded:
    """The queue of *service* dropped *count* events, the last of them shortly before *until*, and none for a while."""

    service: str
    count: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Misses:
    """What is known of one service: *missed* events are kept for it; *count* of them since the stretch began.

    *grown* is when there were more of them for the last time.  *count* is 0 outside of a stretch.  *emptied* is the
    last moment when no event waited for it, None if that is not known: it has had all that came before.
    """

    missed: int
    count: int
    grown: datetime
    emptied: datetime | None = None

    def look(
        self, service: str, missed: int, moment: datetime
    ) -> tuple[Misses, ServiceBehind | ServiceBehindEnded | None]:
        """Return what is known at *moment*, where *missed* events of *service* are kept, and what to report.

        >>> noon = datetime(2026, 12, 1, 12)
        >>> misses, found = Misses(0, 0, noon).look("tickets", 3, noon)
        >>> found
        ServiceBehind(service='tickets', count=3)
        >>> misses.look("tickets", 5, noon)[1]
        >>> misses.look("tickets", 0, noon + QUIET)[1].count
        3
        """
        if missed > self.missed:
            count = self.count + missed - self.missed
            behind = None if self.count else ServiceBehind(service, count)
            return replace(self, missed=missed, count=count, grown=moment), behind
        if self.count and moment - self.grown >= QUIET:
            ended = ServiceBehindEnded(service, self.count, self.grown)
            return replace(self, missed=missed, count=0), ended
        # Fewer: they were replayed, or deleted.
        return replace(self, missed=missed), None

    def remember(self, emptied: datetime | None, found: Backlog, moment: datetime) -> Misses:
        """Return this with *emptied*, if what was *found* at *moment* shows that it is needed: it costs a write.

        An earlier moment is as true, and a replay since then only longer.

        >>> noon = datetime(2026, 12, 1, 12)
        >>> misses = Misses(0, 0, noon, emptied=noon)
        >>> later = noon + timedelta(hours=1)
        >>> misses.remember(later, Backlog(5, 1), later + _LONG / 2).emptied == noon
        True
        >>> misses.remember(later, Backlog(5, 1), later + _LONG).emptied == later
        True
        """
        if emptied is None or (self.emptied and emptied <= self.emptied):
            return self
        is_needed = found.missed > self.missed or (found.messages and moment - emptied >= _LONG)
        return replace(self, emptied=emptied) if self.emptied is None or is_needed else self
