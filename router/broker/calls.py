"""Functions that other threads and signal handlers hand over to a loop."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress


class Calls:
    """A queue that wakes a loop which watches `descriptor`.

    It takes no lock: a signal handler runs in between any two steps of the thread that may hold it.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._waker, self._woken = socket.socketpair()
        for each in (self._waker, self._woken):
            each.setblocking(False)  # noqa: FBT003 - the socket's own interface

    @property
    def descriptor(self) -> int:
        """What becomes readable when there is something to call."""
        return self._woken.fileno()

    def put(self, function: Callable[[], None]) -> None:
        """Have *function* called by the loop."""
        self._waiting.append(function)
        # Full means that it will wake anyhow, closed that it has ended.
        with suppress(OSError):
            self._waker.send(b"x")

    def take(self) -> Iterator[Callable[[], None]]:
        """Yield what is to be called now."""
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._waiting:
            yield self._waiting.popleft()

    def close(self) -> None:
        """Free the descriptors."""
        self._waker.close()
        self._woken.close()
