"""A line to a broker that has a history and nothing else: for all that reads it, in one thread, without RabbitMQ."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from router.broker.amqp.consumption import OFFSET
from router.broker.amqp.requests import Facts
from router.broker.interface import Arrival

Work = Callable[[], object]
_MOST = 100_000
"""Steps after which a reader does not end."""


class StoredHistory:
    """Delivers *stored* messages, with the offsets of a stream, and answers questions about queues.

    Time passes when nothing else is left to do.
    """

    def __init__(self, stored: Sequence[Arrival]) -> None:
        self.stored = [replace(each, headers={**each.headers, OFFSET: at}) for at, each in enumerate(stored)]
        self.questions_of_consumer = self
        self._receive: Callable[[Arrival], object] | None = None
        self._work: deque[Work] = deque()
        self._later: list[tuple[timedelta, int, Work]] = []
        self._now, self._number, self._stopped = timedelta(), 0, False

    def consume(
        self,
        _queue: str,
        receive: Callable[[Arrival], object],
        prefetch: int = 1,
        offset: str | int | None = None,
        *,
        settles: bool = False,
    ) -> None:
        """Call *receive* for each message from *offset* on; a time means from the first."""
        self._receive = receive
        begin = len(self.stored) - 1 if offset == "last" else offset if isinstance(offset, int) else 0
        for each in self.stored[max(begin, 0) :]:
            self._work.append(lambda arrival=each: receive(arrival) if self._receive is receive else None)

    def cancel(self, _queue: str) -> None:
        """Deliver no more."""
        self._receive = None

    def ack(self, arrival: Arrival) -> None:
        """Take the acknowledgement of *arrival*, which changes nothing."""

    def inspect(self, _queue: str, answered: Callable[[Facts], object]) -> None:
        """Answer once all that arrived before was delivered."""
        self._work.append(lambda: answered(Facts(0, 0)))

    def when_ready(self, function: Work) -> None:
        """Call *function*."""
        self._work.append(function)

    def later(self, delay: timedelta, function: Work) -> Work:
        """Call *function* after *delay*; return what cancels that."""
        self._number += 1
        entry = (self._now + delay, self._number, function)
        self._later.append(entry)
        return lambda: self._later.remove(entry) if entry in self._later else None

    def stop(self) -> None:
        """End `run`."""
        self._stopped = True

    def run(self) -> None:
        """Do what is to be done, until `stop`, or until nothing is left."""
        for _ in range(_MOST):
            if self._stopped or not (self._work or self._later):
                return
            if not self._work:
                entry = min(self._later)
                self._later.remove(entry)
                self._now = entry[0]
                self._work.append(entry[2])
            self._work.popleft()()
        raise AssertionError("the reader does not end")
