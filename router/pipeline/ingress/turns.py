"""Gives the records that have arrived in turn, so that what one node sends does not delay the others.  Pure.

Each lane, a node or a queue, that has something to give earns the same number of octets a round, and gives records for
them.  Records of nodes that send more than their share are set aside: while others send, they are taken in small
batches of their own, behind what waits of the others, and only for a part of the time.
"""

from __future__ import annotations

from collections import Counter, deque
from datetime import datetime, timedelta

from ...broker.interface import Arrival

RECORDS, OCTETS = 200, 4 * 2**20
"""The most that one batch holds; one record that is larger is a batch."""

_ASIDE_RECORDS, _ASIDE_OCTETS = 20, 2**18
_EARNED = 2**16
"""Octets a lane earns in a round."""

_EACH = 1024
"""What a record costs beside its octets."""

_REST = 9
"""How much longer than a batch of the set aside takes no other is taken, while others send."""

_LONGEST_REST = timedelta(seconds=1)
"""The longest of these rests: a batch may have taken long because the state could not be written."""

_CROWD = 1000
"""If so many are set aside, they come from shards, where others wait behind them: then they do not rest."""

_PRESENCE = timedelta(seconds=1)

_Lane = deque[tuple[Arrival, int]]
"""The arrivals of one lane, each with its cost."""


def cost(arrival: Arrival) -> int:
    """Return the octets that *arrival* counts as: a small record costs the router more than its octets."""
    return len(arrival.body) + _EACH + sum(map(_octets, arrival.headers.values()))


def _octets(header: object) -> int:
    """Return about how long a *header* is, which may be as long as a frame; a number counts as nothing."""
    if isinstance(header, str | bytes):
        return len(header)
    return len(repr(header)) if isinstance(header, list | dict) else 0


class Turns:
    """The arrivals that wait for the router, by lane."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._waiting: dict[str, _Lane] = {}
        self._earned: dict[str, int] = {}
        self._set_aside: deque[tuple[str, Arrival, int]] = deque()
        self._behind: Counter[str] = Counter()
        self._octets: Counter[str] = Counter()
        self._rest: tuple[datetime, datetime] | None = None
        self._others_last: datetime | None = None
        self._begun: datetime | None = None
        self._has_yielded = False

    def __len__(self) -> int:
        """Return how many arrivals wait."""
        return sum(map(len, self._waiting.values())) + len(self._set_aside)

    def octets(self, lane: str) -> int:
        """Return what all that waits in *lane* costs."""
        return self._octets[lane]

    def add(self, arrival: Arrival, lane: str, octets: int, moment: datetime, *, aside: bool) -> None:
        """Let *arrival*, which came at *moment* and costs *octets*, wait in *lane*, with all of the lane *aside*.

        What comes later waits behind that, also once the lane is no longer set aside: it stays in order.
        """
        self._octets[lane] += octets
        if aside or lane in self._behind:
            waiting = self._waiting.pop(lane, deque())
            self._earned.pop(lane, None)
            waiting.append((arrival, octets))
            self._set_aside.extend((lane, *each) for each in waiting)
            self._behind[lane] += len(waiting)
        else:
            self._others_last = moment
            self._waiting.setdefault(lane, deque()).append((arrival, octets))

    def _note_taken(self, lane: str, octets: int) -> None:
        self._octets[lane] -= octets
        if not self._octets[lane]:
            del self._octets[lane]

    def due(self, moment: datetime) -> timedelta | None:
        """Return how long after *moment* `take` has something to give: None where nothing waits."""
        if self._waiting:
            return timedelta()
        if not self._set_aside:
            return None
        return self._rest[1] - moment if self._rest and self._rests(moment) else timedelta()

    def take(self, moment: datetime) -> list[Arrival]:
        """Return the next batch, in the order in which it arrived in each lane; empty where nothing is due.

        The caller calls `done` when it has dealt with the batch.
        """
        self._begun = None
        is_due = bool(self._set_aside) and not self._rests(moment)
        if is_due and (self._has_yielded or not self._waiting):
            self._has_yielded, self._begun = False, moment
            return self._take_aside(moment)
        self._has_yielded = is_due
        return self._take_in_turn()

    def done(self, moment: datetime) -> None:
        """Note that the batch that `take` returned has been dealt with at *moment*."""
        if self._begun is not None:
            # None: nobody else is there, and the whole time is that of the set aside.
            rest = min(_REST * (moment - self._begun), _LONGEST_REST)
            self._rest = (moment, moment + rest) if self._others_send(moment) else None

    def _others_send(self, moment: datetime) -> bool:
        last = self._others_last
        return last is not None and last <= moment < last + _PRESENCE

    def _rests(self, moment: datetime) -> bool:
        """Say whether the set aside wait now; not for longer if the clock is set back."""
        if len(self._set_aside) >= _CROWD:
            return False
        return self._rest is not None and self._rest[0] <= moment < self._rest[1]

    def _take_aside(self, moment: datetime) -> list[Arrival]:
        others = self._others_send(moment) and len(self._set_aside) < _CROWD
        records, left = (_ASIDE_RECORDS, _ASIDE_OCTETS) if others else (RECORDS, OCTETS)
        taken: list[Arrival] = []
        while self._set_aside and len(taken) < records and left > 0:
            lane, arrival, octets = self._set_aside.popleft()
            taken.append(arrival)
            left -= octets
            self._note_taken(lane, octets)
            self._behind[lane] -= 1
            if not self._behind[lane]:
                del self._behind[lane]
        return taken

    def _take_in_turn(self) -> list[Arrival]:
        taken: list[Arrival] = []
        left = OCTETS
        while self._waiting and len(taken) < RECORDS and left > 0:
            lane = next(iter(self._waiting))
            # Behind the others, also where this batch ends in the middle of its turn.
            waiting = self._waiting.pop(lane)
            earned = self._earned.get(lane, 0) + _EARNED
            while waiting and len(taken) < RECORDS and waiting[0][1] <= earned and left > 0:
                arrival, octets = waiting.popleft()
                taken.append(arrival)
                self._note_taken(lane, octets)
                earned -= octets
                left -= octets
            if waiting:
                self._waiting[lane], self._earned[lane] = waiting, earned
            else:
                self._earned.pop(lane, None)
        return taken
