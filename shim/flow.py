"""What is sent next, and what is to become of what the broker did not take.  No broker, no clock: only the order.

Records leave in the order of their sequence, at most a window of them unsettled.  One that failed (nacked, returned,
or on a channel that the broker closed) is a suspect: it travels alone from then on, so that the next failure is
surely its own.  Trouble with the broker looks the same as trouble with one record, until another record passes: one
that fails, and fails again although another was confirmed in between, is *stubborn*, and goes behind all others.

A nack, or an exchange that is not there, is the broker's trouble and no record's: it is waited for in order.  Only
where nacks do not end may other records be tried, since they may be bound for another queue.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from .records import Record

# A record is given up when it was refused this often with others confirmed in between; never for being nacked.
_HOPELESS = 2
# Nacks in a row for which the order is kept.
_PATIENT = 8
# Bytes in our hands at most (or one record): what keeps the memory small when records are large.
_BYTES = 2 << 20


class _Carried:
    """A record in our hands, and what we know of it."""

    __slots__ = ("failed_at", "record", "returned", "stubborn", "suspect")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.suspect = False
        self.returned = False
        self.stubborn = 0
        self.failed_at: int | None = None


class Settled(NamedTuple):
    """What one answer of the broker settled."""

    confirmed: list[Record]
    nacked: list[Record]
    returned: list[Record]


class Flow:
    """The records in our hands: waiting to be sent, or sent and not settled."""

    def __init__(self, window: int) -> None:
        """Begin with nothing; at most *window* records will be unsettled at once."""
        self._window = window
        self._waiting: list[tuple[int, int, _Carried]] = []
        self._unsettled: dict[int, _Carried] = {}
        self._confirms = 0
        self._bytes = 0
        # Failures since the last confirm, for how long to wait before the next attempt; and whose turn it is then.
        self.streak = 0
        self._turn = 0

    @property
    def waiting(self) -> int:
        """How many records are to be sent."""
        return len(self._waiting)

    @property
    def unsettled(self) -> int:
        """How many were sent and are neither confirmed nor given back."""
        return len(self._unsettled)

    @property
    def room(self) -> int:
        """How many more records may be offered; 0 while there is plenty, so that they come in batches."""
        if len(self._waiting) >= self._window or self._bytes >= _BYTES:
            return 0
        return 2 * self._window - len(self._waiting)

    @property
    def room_in_bytes(self) -> int:
        """How many bytes these may have; one record may have more."""
        return _BYTES - self._bytes

    def before(self, following: int) -> int:
        """Return the highest sequence number of which it is true that it and all before were sent or settled."""
        return min((each.record.sequence for _, _, each in self._waiting), default=following) - 1

    def offer(self, records: Iterable[Record]) -> None:
        """Take *records* in hand."""
        for record in records:
            self._bytes += len(record.body)
            self._wait(_Carried(record))

    def take(self, tag: int) -> Record | None:
        """Return the record to be sent now, as the broker's *tag*, or None when nothing is to be sent yet."""
        unsettled = len(self._unsettled)
        if not self._waiting or unsettled >= self._window:
            return None
        if self.streak:
            if unsettled:
                return None
            # Each gets its turn: were it always the first, one bad record would hold up the others for ever.
            turn = sorted(self._waiting)[self._turn % len(self._waiting)]
            self._waiting.remove(turn)
            heapq.heapify(self._waiting)
            carried = turn[2]
        else:
            carried = self._waiting[0][2]
            if unsettled and (carried.suspect or next(iter(self._unsettled.values())).suspect):
                return None
            heapq.heappop(self._waiting)
        self._unsettled[tag] = carried
        return carried.record

    def send_beside(self, tag: int, record: Record) -> bool:
        """Say whether *record*, which is in no spool, may be sent now as *tag*; if it fails it is forgotten."""
        if any(each.suspect for each in self._unsettled.values()):
            return False
        self._unsettled[tag] = _Carried(record)
        return True

    def returned(self, record_id: str) -> None:
        """Take note that the broker could not route the record; its confirm, which follows, will not count."""
        for each in self._unsettled.values():
            if each.record.id == record_id:
                each.returned = True

    def settle(self, tag: int, *, multiple: bool, ack: bool) -> Settled:
        """Return what the broker's answer for *tag*, and with *multiple* all before it, settles."""
        settled = Settled([], [], [])
        for each in self._answered(tag, multiple=multiple):
            if ack and not each.returned:
                self._confirms += 1
                self.streak = self._turn = 0
                if each.record.spooled:
                    self._bytes -= len(each.record.body)
                settled.confirmed.append(each.record)
            else:
                (settled.returned if each.returned else settled.nacked).append(each.record)
                if each.returned or self.streak >= _PATIENT:
                    self._fail(each)
                self._wait(each)
        if settled.nacked or settled.returned:
            self.streak += 1
            self._turn += self.streak > (1 if settled.returned else _PATIENT)
        return settled

    def refused(self, *, final: bool) -> list[Record]:
        """Take back all that is unsettled, since the broker closed the channel; return what there is no hope for.

        There is hope for every record where the reason is not *final*, such as an exchange that is not there yet.
        """
        carried = list(self._unsettled.values())
        self._unsettled.clear()
        self.streak += 1
        self._turn += final and self.streak > 1
        hopeless = []
        for each in carried:
            if not final:
                self._wait(each)
                continue
            if len(carried) == 1:
                self._fail(each)
            each.suspect = True
            if each.record.spooled and each.stubborn >= _HOPELESS:
                self._bytes -= len(each.record.body)
                hopeless.append(each.record)
            else:
                self._wait(each)
        return hopeless

    def lost(self) -> None:
        """Take back all that is unsettled, since the connection is gone: to be sent again, in order."""
        for each in self._unsettled.values():
            self._wait(each)
        self._unsettled.clear()

    def _answered(self, tag: int, *, multiple: bool) -> list[_Carried]:
        if not multiple:
            carried = self._unsettled.pop(tag, None)
            return [] if carried is None else [carried]
        tags = []
        for each in self._unsettled:  # in the order of sending
            if each > tag:
                break
            tags.append(each)
        return [self._unsettled.pop(each) for each in tags]

    def _fail(self, carried: _Carried) -> None:
        if carried.failed_at is not None and carried.failed_at < self._confirms:
            carried.stubborn += 1
        carried.failed_at = self._confirms
        carried.suspect = True

    def _wait(self, carried: _Carried) -> None:
        carried.returned = False
        if carried.record.spooled:
            heapq.heappush(self._waiting, (carried.stubborn, carried.record.sequence, carried))


def jittered(attempt: int, *, first: float, longest: float, chance: random.Random) -> float:
    """Return the seconds to wait before *attempt* (the first again is 1): full jitter, so that relays spread.

    >>> import random
    >>> 0 <= jittered(3, first=0.5, longest=60, chance=random.Random(1)) <= 2
    True
    """
    return chance.uniform(0, min(longest, first * 2.0 ** min(attempt - 1, 30)))
