"""What was published and is not settled yet, in order.  No broker: it only keeps the books.

A message is *waiting* until it is sent over the present channel, then *sent* under that channel's next number until
the broker says something of the number.  A channel that is lost makes everything that was sent wait again, before
anything newer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from . import Message, Settlement

Settled = Callable[[Settlement], None]


class Entry:
    """A message that was published and is not settled."""

    __slots__ = ("message", "returned", "serial", "settled")

    def __init__(self, serial: int, message: Message, settled: Settled) -> None:
        """Keep *message*, the *serial*-th, and whom to tell."""
        self.serial, self.message, self.settled = serial, message, settled
        self.returned = False

    @property
    def settlement(self) -> Settlement:
        """What a confirm means for it: the broker returns what it could not route before it confirms it."""
        return Settlement.UNROUTED if self.returned else Settlement.CONFIRMED


class Outbox:
    """The messages of one line that are not settled."""

    def __init__(self, window: int) -> None:
        """Have at most *window* messages sent and not settled; the others wait."""
        self._window = window
        self._waiting: deque[Entry] = deque()
        self._sent: dict[int, Entry] = {}
        self._refused: list[Entry] = []
        self._serial = 0
        self._number = 0
        self._suspects = 0
        self.progress = 0

    def __len__(self) -> int:
        """Return how many messages are not settled."""
        return len(self._waiting) + len(self._sent) + len(self._refused)

    @property
    def outstanding(self) -> int:
        """How many were sent and wait for the broker's word."""
        return len(self._sent)

    @property
    def must_pause(self) -> bool:
        """Whether the broker refused some, and all that was sent with them is settled: send again, after a pause."""
        return bool(self._refused) and not self._sent

    def put(self, message: Message, settled: Settled) -> None:
        """Take *message* in, to be sent after all that came before."""
        self._serial += 1
        self._waiting.append(Entry(self._serial, message, settled))

    def next(self) -> Entry | None:
        """Return the message to send now, or None; it stays until `sent` or `drop`."""
        if not self._waiting or self._refused:
            return None
        if len(self._sent) >= (1 if self._suspects else self._window):
            return None
        return self._waiting[0]

    def sent(self) -> None:
        """Count the message that `next` returned as sent, under the channel's next number."""
        if not self._sent:
            self.progress += 1
        self._number += 1
        self._sent[self._number] = self._waiting.popleft()

    def drop(self) -> Entry:
        """Take out the message that `next` returned: it can't be sent at all."""
        return self._waiting.popleft()

    def confirm(self, number: int, *, multiple: bool) -> list[Entry]:
        """Take out what the broker confirmed: *number*, or with *multiple* all up to it."""
        entries = self._take(number, multiple=multiple)
        self._suspects = max(0, self._suspects - len(entries))
        return entries

    def refuse(self, number: int, *, multiple: bool) -> None:
        """Keep what the broker refused for now; nothing newer is sent before it, so that the order holds."""
        self._refused += self._take(number, multiple=multiple)

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
        """Note that the broker could not route a message that was sent; its confirm follows."""
        for entry in self._sent.values():
            message = entry.message
            if not entry.returned and (message.id, message.exchange, message.key) == (message_id, exchange, key):
                entry.returned = True
                return

    def again(self) -> None:
        """Have what was refused sent again, before anything newer, over the same channel."""
        self._put_back(self._refused)
        self._refused = []

    def lost(self, *, by_fault: bool = False) -> Entry | None:
        """Have everything that was sent wait again: its channel is gone, the next begins at number 1.

        When the channel was closed *by_fault* of one message, and only one was sent, that one is returned (it waits
        again too, first).  When there were more, each is sent alone from now on until the culprit shows.
        """
        unsettled = [*self._sent.values(), *self._refused]
        culprit = unsettled[0] if by_fault and len(self._sent) == 1 and not self._refused else None
        if by_fault:
            self._suspects = max(self._suspects, len(unsettled))
        self._put_back(unsettled)
        self._sent, self._refused, self._number = {}, [], 0
        return culprit

    def _put_back(self, entries: list[Entry]) -> None:
        entries = sorted(entries, key=lambda entry: entry.serial)
        for entry in entries:
            entry.returned = False
        self._waiting.extendleft(reversed(entries))

    def drop_culprit(self) -> Entry:
        """Take out the message that `lost` returned: the broker will never take it."""
        self._suspects = max(0, self._suspects - 1)
        return self._waiting.popleft()
