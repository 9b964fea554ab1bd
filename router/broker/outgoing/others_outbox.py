"""Events for the queues of others alone, while one of these answers nothing: nobody waits for them.  No I/O.

Our own queues have these events already, so they are not kept beyond a bound, and not sent again.  What a queue of
others did not take counts as refused by it; it finds it in the history.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta

from ..interface import Message
from .foreign_queues import ForeignQueues

_MOST, _OCTETS = 1000, 8 * 2**20
"""How many events wait at most, and of how many octets; the oldest go first."""


class OthersOutbox:
    """The events that wait, and those that were sent and not answered."""

    def __init__(self, foreign: ForeignQueues) -> None:
        """Report to *foreign* what the queues of others took, and what they did not."""
        self._foreign = foreign
        self._waiting: deque[Message] = deque()
        self._octets = 0
        self._sent: dict[int, timedelta] = {}
        self._number = 0
        self._allowed = 1

    def __len__(self) -> int:
        """Return the number of events that wait or were not answered."""
        return len(self._waiting) + len(self._sent)

    @property
    def unanswered_for(self) -> timedelta:
        """How long the oldest event that was sent has no answer."""
        oldest = next(iter(self._sent.values()), None)
        return timedelta() if oldest is None else self._foreign.clock() - oldest

    def put(self, message: Message) -> None:
        """Add *message*; where there is no room for it, the oldest ones go."""
        self._waiting.append(message)
        self._octets += len(message.body)
        while len(self._waiting) > _MOST or (self._octets > _OCTETS and len(self._waiting) > 1):
            self._take()
            self._foreign.refused_by_others()

    def next(self) -> Message | None:
        """Return the message to send now, and count it as sent; None while answers must come first.

        One is sent at a time until there is an answer; each allows one more.
        """
        if not self._waiting or len(self._sent) >= self._allowed:
            return None
        self._number += 1
        self._sent[self._number] = self._foreign.clock()
        return self._take()

    def answered(self, number: int, *, multiple: bool, taken: bool) -> None:
        """Note the answer to the *number*-th message of the channel, or with *multiple*, to all up to it."""
        numbers = [each for each in self._sent if each <= number] if multiple else [number]
        for each in numbers:
            if self._sent.pop(each, None) is None:
                continue
            if taken:
                self._allowed = min(self._allowed + 1, _MOST)
                if not self._sent and not self._waiting:
                    self._foreign.taken_by_others()
            else:
                self._foreign.refused_by_others()

    def lost(self) -> None:
        """Note that the channel is lost: what was not answered counts as refused, and the next one starts at 1."""
        for _ in self._sent:
            self._foreign.refused_by_others()
        self._sent, self._number, self._allowed = {}, 0, 1

    def _take(self) -> Message:
        message = self._waiting.popleft()
        self._octets -= len(message.body)
        return message
