"""Decides which record to send next, and what to do with records that the broker did not accept.  No broker, no clock.

Records leave in the order of their sequence, with at most one window of them unsettled.  A record that failed (nacked,
returned, or sent on a channel that the broker closed) is a suspect: from then on it is sent alone, so that the next
failure is certainly its own.  A problem of the broker looks like a problem of one record until another record passes.
A record that fails again, although another was confirmed in between, is *stubborn* and moves behind all others.

A nack or a missing exchange is a problem of the broker, not of a record: the queue waits and keeps its order.  Only if
nacks continue does it try other records, since those may go to another queue of the broker.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from .records import Record

# After this many refusals with other records confirmed in between, a record is hopeless; nacks do not count.
_HOPELESS = 2
# The order is kept for this many consecutive nacks.
_PATIENT = 8
# The most bytes in this queue (or one record): limits the memory for large records.
_BYTES = 2 << 20


class _Entry:
    """A record in the queue, with its history of failures."""

    __slots__ = ("failed_at", "record", "returned", "stubborn", "suspect")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.suspect = False
        self.returned = False
        self.stubborn = 0
        self.failed_at: int | None = None


class Settled(NamedTuple):
    """The records that one answer of the broker settled."""

    confirmed: list[Record]
    nacked: list[Record]
    returned: list[Record]


class SendQueue:
    """Records that wait to be sent, and records that were sent and are not settled."""

    def __init__(self, window: int) -> None:
        """Start empty; at most *window* records are unsettled at once."""
        self._window = window
        self._waiting: list[tuple[int, int, _Entry]] = []
        self._unsettled: dict[int, _Entry] = {}
        self._confirms = 0
        self._bytes = 0
        # Failures since the last confirm, which determine the next delay; and the position of the record to try next.
        self.streak = 0
        self._turn = 0

    @property
    def waiting(self) -> int:
        """Number of records that wait to be sent."""
        return len(self._waiting)

    @property
    def unsettled(self) -> int:
        """Number of records that were sent and are neither confirmed nor taken back."""
        return len(self._unsettled)

    @property
    def room(self) -> int:
        """Number of records that may be added; 0 while enough wait, so that they arrive in batches."""
        if len(self._waiting) >= self._window or self._bytes >= _BYTES:
            return 0
        return 2 * self._window - len(self._waiting)

    @property
    def room_in_bytes(self) -> int:
        """Number of bytes that may be added; a single record may exceed it."""
        return _BYTES - self._bytes

    def last_sent_before(self, following: int) -> int:
        """Return the highest sequence number up to which all records below *following* were sent or settled."""
        return min((each.record.sequence for _, _, each in self._waiting), default=following) - 1

    def offer(self, records: Iterable[Record]) -> None:
        """Add *records* to the queue."""
        for record in records:
            self._bytes += len(record.body)
            self._wait(_Entry(record))

    def take(self, tag: int) -> Record | None:
        """Return the record to send now with delivery *tag*, or None if nothing may be sent yet."""
        unsettled = len(self._unsettled)
        if not self._waiting or unsettled >= self._window:
            return None
        if self.streak:
            if unsettled:
                return None
            # Try each record in turn: if the first were always next, one bad record could block the others forever.
            turn = sorted(self._waiting)[self._turn % len(self._waiting)]
            self._waiting.remove(turn)
            heapq.heapify(self._waiting)
            entry = turn[2]
        else:
            entry = self._waiting[0][2]
            if unsettled and (entry.suspect or next(iter(self._unsettled.values())).suspect):
                return None
            heapq.heappop(self._waiting)
        self._unsettled[tag] = entry
        return entry.record

    def send_unspooled(self, tag: int, record: Record) -> bool:
        """Return whether *record*, which is in no spool, may be sent now as *tag*; if it fails, it is forgotten."""
        if any(each.suspect for each in self._unsettled.values()):
            return False
        self._unsettled[tag] = _Entry(record)
        return True

    def returned(self, record_id: str) -> None:
        """Mark the record as returned: the broker could not route it, and the confirm that follows does not count."""
        for each in self._unsettled.values():
            if each.record.id == record_id:
                each.returned = True

    def settle(self, tag: int, *, multiple: bool, ack: bool) -> Settled:
        """Return the records that the broker's answer settles: that of *tag*, with *multiple* all earlier ones too."""
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

    def refused(self, *, final: bool, too_large: int | None = None) -> list[Record]:
        """Take back all unsettled records after the broker closed the channel; return the hopeless ones.

        No record is hopeless if the reason is not *final*, such as an exchange that does not exist yet.  If the broker
        accepts no message of *too_large* bytes, the records of at least that size are hopeless, and no other is a
        suspect.
        """
        entry = list(self._unsettled.values())
        self._unsettled.clear()
        if too_large is not None and any(len(each.record.body) >= too_large for each in entry):
            return self._without(entry, too_large)
        self.streak += 1
        self._turn += final and self.streak > 1
        hopeless = []
        for each in entry:
            if not final:
                self._wait(each)
                continue
            if len(entry) == 1:
                self._fail(each)
            each.suspect = True
            if each.record.spooled and each.stubborn >= _HOPELESS:
                self._bytes -= len(each.record.body)
                hopeless.append(each.record)
            else:
                self._wait(each)
        return hopeless

    def _without(self, entries: Iterable[_Entry], size: int) -> list[Record]:
        """Let those of *entries* wait that have less than *size* bytes; return the records of the others."""
        hopeless = []
        for each in entries:
            if len(each.record.body) < size:
                self._wait(each)
            elif each.record.spooled:
                self._bytes -= len(each.record.body)
                hopeless.append(each.record)
        return hopeless

    def take_back_all(self) -> None:
        """Take back all unsettled records after the connection is lost, to send them again in order."""
        for each in self._unsettled.values():
            self._wait(each)
        self._unsettled.clear()

    def _answered(self, tag: int, *, multiple: bool) -> list[_Entry]:
        if not multiple:
            entry = self._unsettled.pop(tag, None)
            return [] if entry is None else [entry]
        tags = []
        for each in self._unsettled:  # in the order of sending
            if each > tag:
                break
            tags.append(each)
        return [self._unsettled.pop(each) for each in tags]

    def _fail(self, entry: _Entry) -> None:
        if entry.failed_at is not None and entry.failed_at < self._confirms:
            entry.stubborn += 1
        entry.failed_at = self._confirms
        entry.suspect = True

    def _wait(self, entry: _Entry) -> None:
        entry.returned = False
        if entry.record.spooled:
            heapq.heappush(self._waiting, (entry.stubborn, entry.record.sequence, entry))


def jittered(attempt: int, *, first: float, longest: float, chance: random.Random) -> float:
    """Return the seconds to wait before retry *attempt* (the first is 1), with full jitter so that relays spread out.

    >>> import random
    >>> 0 <= jittered(3, first=0.5, longest=60, chance=random.Random(1)) <= 2
    True
    """
    return chance.uniform(0, min(longest, first * 2.0 ** min(attempt - 1, 30)))
