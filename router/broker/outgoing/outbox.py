"""Published messages that are not settled yet, in order.  No I/O.

A message is *waiting* until it is sent over the current channel.  Then it is *sent*, under the channel's next number,
until the broker confirms or refuses that number.  When a channel is lost, all sent messages wait again, before newer
ones.

An event may be sent in parts: see `foreign_queues`.  It is settled when its last part is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from ..interface import Message, Settlement
from ..topology import EVENTS, FOR_OTHERS, OWN_EVENTS
from .foreign_queues import ForeignQueues, Part
from .others_outbox import OthersOutbox

Settled = Callable[[Settlement], None]

_FIRST = 32
"""How many events are sent before the first confirm after a while without any.  Each confirm allows one more.

If a queue refuses them, only so many are sent twice.
"""

_IDLE = timedelta(seconds=1)


class Entry:
    """A published message that is not settled, and the *part* of it that is to be sent, or is sent."""

    __slots__ = ("message", "part", "refused", "returned", "sent_at", "serial", "settled")

    def __init__(self, serial: int, message: Message, settled: Settled) -> None:
        """Keep *message*, the *serial*-th of the outbox, and the function *settled* to call."""
        self.serial, self.message, self.settled = serial, message, settled
        self.part = Part.ALL
        self.refused = self.returned = False
        self.sent_at = timedelta()

    @property
    def is_for_others(self) -> bool:
        """Whether the part is an event that also queues of others get."""
        return self.part is not Part.OWN and self.message.exchange == EVENTS

    @property
    def exchange(self) -> str:
        """The exchange that the part is sent to."""
        return OWN_EVENTS if self.part is Part.OWN else self.message.exchange

    @property
    def outgoing(self) -> Message:
        """The message as the part is sent."""
        match self.part:
            case Part.ALL:
                return self.message
            case Part.OWN:
                return replace(self.message, exchange=OWN_EVENTS)
            case Part.OTHERS:
                return replace(self.message, headers={**self.message.headers, **FOR_OTHERS})

    @property
    def settlement(self) -> Settlement:
        """The settlement that the answer means: the broker returns an unroutable message before it confirms it."""
        if self.refused:
            return Settlement.REFUSED
        is_lost = self.returned and self.part is not Part.OTHERS
        return Settlement.UNROUTED if is_lost else Settlement.CONFIRMED


class Outbox:
    """The unsettled messages of one connection."""

    def __init__(self, window: int, foreign: ForeignQueues) -> None:
        """Let at most *window* messages be sent and not settled; the others wait.  *foreign* decides on parts.

        `others` has the parts that nobody waits for.
        """
        self._window, self.foreign = window, foreign
        self.others = OthersOutbox(foreign)
        self._waiting: deque[Entry] = deque()
        self._sent: dict[int, Entry] = {}
        self._refused: list[Entry] = []
        self._pauses = False
        self._serial = 0
        self._number = 0
        self._suspects = 0
        self._allowed = window
        self._events_allowed = _FIRST
        self._idle_since = foreign.clock()
        self.progress = 0
        self.nacks = 0
        """How often the broker has refused a message for now."""

    def __len__(self) -> int:
        """Return the number of unsettled messages."""
        return len(self._waiting) + len(self._sent) + len(self._refused)

    @property
    def outstanding(self) -> int:
        """The number of messages that are sent and not yet confirmed or refused."""
        return len(self._sent)

    @property
    def has_only_refused(self) -> bool:
        """Whether the broker refused messages and has answered on all others: send the refused ones `again`."""
        return bool(self._refused) and not self._sent

    def put(self, message: Message, settled: Settled) -> None:
        """Add *message*; it is sent after all earlier ones."""
        self._serial += 1
        self._waiting.append(Entry(self._serial, message, settled))

    def next(self) -> Entry | None:
        """Return the message to send now, or None; it stays until `sent` or `drop`."""
        if not self._waiting or self._refused:
            return None
        if len(self._sent) >= (1 if self._suspects else self._allowed):
            return None
        entry = self._waiting[0]
        if entry.part is Part.ALL and entry.message.exchange == EVENTS:
            if not self._sent and self.foreign.clock() - self._idle_since > _IDLE:
                self._events_allowed = _FIRST
            if len(self._sent) >= self._events_allowed:
                return None
            if self.foreign.are_apart:
                entry.part = Part.OWN
        elif entry.part is Part.OWN and not self.foreign.is_separable:
            entry.part = Part.ALL
        return entry

    def sent(self) -> None:
        """Count the message that `next` returned as sent, under the channel's next number."""
        if not self._sent:
            self.progress += 1
        self._number += 1
        entry = self._sent[self._number] = self._waiting.popleft()
        entry.sent_at = self.foreign.clock()

    @property
    def unanswered_for(self) -> timedelta:
        """How long the oldest event that queues of others get, too, is sent without an answer."""
        oldest = next((each for each in self._sent.values() if each.is_for_others), None)
        return self.foreign.clock() - oldest.sent_at if oldest else timedelta()

    def unanswered(self) -> list[Entry]:
        """Note that an event has had no answer for too long; return what is settled by that.

        What our own queues have is not waited for any more.  All else is to be sent over another connection.
        """
        if not self.foreign.unanswered():
            return []
        self._put_back(self._sent.values())
        self._sent = {}
        settled = [each for each in self._waiting if each.part is Part.OTHERS]
        self._waiting = deque(each for each in self._waiting if each.part is not Part.OTHERS)
        for each in settled:
            self.others.put(each.outgoing)
        return settled

    def drop(self) -> Entry:
        """Remove the message that `next` returned: it cannot be sent."""
        return self._waiting.popleft()

    def confirm(self, number: int, *, multiple: bool) -> list[Entry]:
        """Remove what the broker confirmed: *number*, or with *multiple*, all up to it; return what that settles."""
        entries = self._take(number, multiple=multiple)
        if not self._sent:
            self._idle_since = self.foreign.clock()
        self._suspects = max(0, self._suspects - len(entries))
        self._allowed = min(self._window, self._allowed + len(entries))
        self._events_allowed = min(self._window, self._events_allowed + len(entries))
        owed, settled = [], []
        for entry in entries:
            if entry.part is Part.OWN and not entry.returned:
                entry.part = Part.OTHERS
                if not self.foreign.are_silent:
                    owed.append(entry)
                    continue
                self.others.put(entry.outgoing)
            elif entry.is_for_others:
                self.foreign.taken_by_others()
            settled.append(entry)
        self._owe(owed)
        return settled

    def _owe(self, entries: list[Entry]) -> None:
        """Let *entries* wait again for the queues of others: behind such ones, before all else."""
        ahead = []
        while entries and self._waiting and self._waiting[0].part is Part.OTHERS:
            ahead.append(self._waiting.popleft())
        self._waiting.extendleft(reversed([*ahead, *entries]))

    def refuse(self, number: int, *, multiple: bool) -> list[Entry]:
        """Keep what the broker refused for now: *number*, or with *multiple*, all up to it.

        No newer message is sent before them, so the order is kept.  Return what is settled all the same: what only
        queues of others refused, and what is not sent again.
        """
        settled = []
        for entry in self._take(number, multiple=multiple):
            self.nacks += 1
            if not entry.message.again:
                entry.refused = True
                settled.append(entry)
                continue
            match entry.part:
                case Part.OTHERS:
                    self.foreign.refused_by_others()
                    settled.append(entry)
                    continue
                case Part.ALL if entry.message.exchange == EVENTS and self.foreign.refused_by_any():
                    entry.part = Part.OWN
                case _:
                    self._pauses = True
            self._refused.append(entry)
        return settled

    def _take(self, number: int, *, multiple: bool) -> list[Entry]:
        self.progress += 1
        if not multiple:
            entry = self._sent.pop(number, None)
            return [entry] if entry else []
        numbers = []
        for each in self._sent:
            if each > number:
                break
            numbers.append(each)
        return [self._sent.pop(each) for each in numbers]

    def returned(self, exchange: str, key: str, message_id: str) -> None:
        """Note that the broker could not route a sent message; its confirm follows."""
        for entry in self._sent.values():
            message = entry.message
            if not entry.returned and (message.id, entry.exchange, message.key) == (message_id, exchange, key):
                entry.returned = True
                return

    def again(self) -> bool:
        """Let the refused messages wait again, before newer ones, for the same channel; return whether to pause."""
        self._put_back(self._refused)
        self._refused, pauses, self._pauses = [], self._pauses, False
        if pauses:
            # All queues but the one that refuses get another copy each time: ask with one message.
            self._allowed = 1
        return pauses

    def lost(self, *, by_fault: bool = False) -> Entry | None:
        """Let all sent messages wait again: their channel is lost, and the next one starts at number 1.

        If the broker closed the channel *by_fault* of a message and only one was sent, return that one; it waits
        again too, as the first.  If more were sent, each is sent alone from now on, until the culprit is found.
        """
        unsettled = [*self._sent.values(), *self._refused]
        culprit = unsettled[0] if by_fault and len(self._sent) == 1 and not self._refused else None
        if by_fault:
            self._suspects = max(self._suspects, len(unsettled))
        self._put_back(unsettled)
        self._sent, self._refused, self._pauses, self._number = {}, [], False, 0
        return culprit

    def _put_back(self, entries: Iterable[Entry]) -> None:
        entries = sorted(entries, key=lambda entry: entry.serial)
        for entry in entries:
            entry.returned = False
        self._waiting.extendleft(reversed(entries))

    def drop_culprit(self) -> Entry:
        """Remove the message that `lost` returned: the broker will never accept it."""
        self._suspects = max(0, self._suspects - 1)
        return self._waiting.popleft()
