"""Threads that call handlers: as many as a subscription allows at once, at the least cost for each call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class Ticket:
    """Work that is done once, unless it is cancelled before it has begun."""

    __slots__ = ("_work",)

    def __init__(self, work: Work) -> None:
        """Stand for *work*."""
        self._work = [work]

    def cancel(self) -> bool:
        """Take it back; return False if it has begun or was taken back before."""
        return self._take() is not None

    def run(self) -> None:
        """Do the work, unless it was cancelled."""
        if work := self._take():
            work()

    def _take(self) -> Work | None:
        try:
            # Only one caller gets it: `pop` of a list is atomic.
            return self._work.pop()
        except IndexError:
            return None


class ThreadPool:
    """Up to *size* threads, started when there is work for them.

    They end with the process, even while a handler hangs: whoever waits for handlers has to set a limit.
    """

    def __init__(self, size: int, name: str) -> None:
        """Begin with none."""
        self._size, self._name = size, name
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def submit(self, work: Work) -> Ticket:
        """Do *work* after everything submitted before; it must not raise.  To be called from one thread."""
        ticket = Ticket(work)
        self._queue.put(ticket)
        if self._threads < self._size and not self._idle.acquire(blocking=False):
            self._threads += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._threads}", daemon=True).start()
        return ticket

    def close(self) -> None:
        """End the threads when all submitted work is done."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _run(self) -> None:
        while ticket := self._queue.get():
            ticket.run()
            if self._queue.empty():
                self._idle.release()
