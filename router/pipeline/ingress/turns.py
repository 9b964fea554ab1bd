"""Reads the ingress queues in turn, so that what waits in one of them does not delay the others.  Pure.

Each queue that has something to give earns the same number of octets a round, and gives records for them.  The queue of
nodes that send more than their share is read in small batches of its own, and, while others send, only for a part of
the time.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from ...broker.interface import Arrival

RECORDS, OCTETS = 200, 4 * 2**20
"""The most that one batch holds; one record that is larger is a batch."""

_ASIDE_RECORDS, _ASIDE_OCTETS = 20, 2**18
_EARNED = 2**16
"""Octets a queue earns in a round."""

_EACH = 1024
"""What a record costs beside its octets."""

_REST = 4
"""How much longer than a batch of the set aside takes no other is taken, while others send."""

_PRESENCE = timedelta(seconds=1)


def cost(arrival: Arrival) -> int:
    """Return the octets that *arrival* counts as: a small record costs the router more than its octets."""
    return len(arrival.body) + _EACH + sum(map(_octets, arrival.headers.values()))


def _octets(header: object) -> int:
    """Return about how long a *header* is, which may be as long as a frame; a number counts as nothing."""
    if isinstance(header, str | bytes):
        return len(header)
    return len(repr(header)) if isinstance(header, list | dict) else 0


class Turns:
    """The arrivals that wait for the router, by queue."""

    def __init__(self, aside: str) -> None:
        """Read the queue *aside* only as the others allow."""
        self._aside = aside
        self._waiting: dict[str, deque[Arrival]] = {}
        self._earned: dict[str, int] = {}
        self._set_aside: deque[Arrival] = deque()
        self._rest: tuple[datetime, datetime] | None = None
        self._others_last: datetime | None = None
        self._begun: datetime | None = None

    def __len__(self) -> int:
        """Return how many arrivals wait."""
        return sum(map(len, self._waiting.values())) + len(self._set_aside)

    def add(self, arrival: Arrival, moment: datetime) -> None:
        """Let *arrival*, which came at *moment*, wait."""
        if arrival.queue == self._aside:
            self._set_aside.append(arrival)
            return
        self._others_last = moment
        self._waiting.setdefault(arrival.queue, deque()).append(arrival)

    def due(self, moment: datetime) -> timedelta | None:
        """Return how long after *moment* `take` has something to give: None where nothing waits."""
        if self._waiting:
            return timedelta()
        if not self._set_aside:
            return None
        return self._rest[1] - moment if self._rest and self._rests(moment) else timedelta()

    def take(self, moment: datetime) -> list[Arrival]:
        """Return the next batch, in the order in which it arrived at each queue; empty where nothing is due.

        The caller calls `done` when it has dealt with the batch.
        """
        self._begun = None
        if self._set_aside and not self._rests(moment):
            self._begun = moment
            return self._take_aside()
        return self._take_in_turn()

    def done(self, moment: datetime) -> None:
        """Note that the batch that `take` returned has been dealt with at *moment*."""
        if self._begun is None:
            return
        others = self._others_last is not None and moment - self._others_last < _PRESENCE
        # None: nobody else is there, and the whole time is that of the set aside.
        self._rest = (moment, moment + _REST * (moment - self._begun)) if others else None

    def _rests(self, moment: datetime) -> bool:
        """Say whether the set aside wait now; not for longer if the clock is set back."""
        return self._rest is not None and self._rest[0] <= moment < self._rest[1]

    def _take_aside(self) -> list[Arrival]:
        taken: list[Arrival] = []
        octets = 0
        while self._set_aside and len(taken) < _ASIDE_RECORDS and octets < _ASIDE_OCTETS:
            taken.append(self._set_aside.popleft())
            octets += cost(taken[-1])
        return taken

    def _take_in_turn(self) -> list[Arrival]:
        taken: list[Arrival] = []
        left = OCTETS
        while self._waiting and len(taken) < RECORDS and left > 0:
            queue = next(iter(self._waiting))
            # Behind the others, also where this batch ends in the middle of its turn.
            waiting = self._waiting.pop(queue)
            earned = self._earned.get(queue, 0) + _EARNED
            while waiting and len(taken) < RECORDS and cost(waiting[0]) <= earned and left > 0:
                taken.append(waiting.popleft())
                earned -= cost(taken[-1])
                left -= cost(taken[-1])
            if waiting:
                self._waiting[queue], self._earned[queue] = waiting, earned
            else:
                self._earned.pop(queue, None)
        return taken
