"""Threads that call handlers: as many as a subscription allows at once, and no more work per call than need be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class Ticket:
    """Something that is to be done once, unless it is cancelled before it has begun."""

    __slots__ = ("_work", "is_cancelled")

    def __init__(self, work: Work) -> None:
        """Stand for *work*."""
        self._work = [work]
        self.is_cancelled = False

    def cancel(self) -> bool:
        """Have it not done; False where it has begun."""
        # Who takes it out has it: a list's `pop` is one step, whatever threads there are.
        self.is_cancelled = self._take() is not None or self.is_cancelled
        return self.is_cancelled

    def run(self) -> None:
        """Do it, unless it was cancelled."""
        if work := self._take():
            work()

    def _take(self) -> Work | None:
        try:
            return self._work.pop()
        except IndexError:
            return None


class Pool:
    """Up to *size* threads, started when there is work for them.

    They end with the process, be it that a handler hangs: whoever waits for handlers does so with a limit.
    """

    def __init__(self, size: int, name: str) -> None:
        """Begin with none."""
        self._size, self._name = size, name
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def submit(self, work: Work) -> Ticket:
        """Have *work* done, after all that came before; it must not raise.  To be called from one thread."""
        ticket = Ticket(work)
        self._queue.put(ticket)
        if self._threads < self._size and not self._idle.acquire(blocking=False):
            self._threads += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()
        return ticket

    def close(self) -> None:
        """Let the threads end when all is done that was submitted."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _run(self) -> None:
        while ticket := self._queue.get():
            ticket.run()
            if self._queue.empty():
                self._idle.release()
