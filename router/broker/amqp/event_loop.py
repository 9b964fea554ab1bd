"""An event loop whose functions may fail: an exception ends the loop, and `run` raises it.

The loop itself is pika's, which would treat an exception of our functions as a broken connection.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Protocol


class Calls:
    """A queue of functions that wakes a loop, which watches `descriptor`.

    It takes no lock: a signal handler may interrupt the thread that holds the lock, and would wait forever.
    """

    def __init__(self) -> None:
        """Begin without functions."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._waker, self._woken = socket.socketpair()
        for each in (self._waker, self._woken):
            each.setblocking(False)  # noqa: FBT003 - the socket's own interface

    @property
    def descriptor(self) -> int:
        """The file descriptor that becomes readable when there is something to call."""
        return self._woken.fileno()

    def put(self, function: Callable[[], None]) -> None:
        """Let the loop call *function*."""
        self._waiting.append(function)
        # If the socket is full, the loop wakes anyway; if it is closed, the loop has ended.
        with suppress(OSError):
            self._waker.send(b"x")

    def take(self) -> Iterator[Callable[[], None]]:
        """Yield the functions to call now."""
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._waiting:
            yield self._waiting.popleft()

    def close(self) -> None:
        """Free the descriptors."""
        self._waker.close()
        self._woken.close()


class Native(Protocol):
    """The part of pika's loop that we use."""

    READ: int

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Call *handler* when *fd* is ready."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Call *callback* after *delay*, in seconds."""

    def remove_timeout(self, timeout_handle: object) -> None:
        """Cancel the call that `call_later` returned."""

    def start(self) -> None:
        """Run until `stop`; may be called again."""

    def stop(self) -> None:
        """Leave `start`."""

    def close(self) -> None:
        """Close its descriptors."""


class Loop:
    """Calls functions in the thread that runs `run`."""

    def __init__(self, native: Native) -> None:
        """Run on *native*."""
        self._native = native
        self._calls = Calls()
        native.add_handler(self._calls.descriptor, self._run_calls, native.READ)
        self._idle: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._cleaning = self._ran = False

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* soon; safe from any thread or signal handler."""
        self._calls.put(function)

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        """Call *function* after *delay*; returns a function that cancels the call."""
        if self._ran:
            return lambda: None
        timeout = self._native.call_later(max(0.0, delay.total_seconds()), lambda: self._guard(function))

        def take_back() -> None:
            if not self._ran:
                self._native.remove_timeout(timeout)

        return take_back

    def when_idle(self, function: Callable[[], None]) -> None:
        """Call *function* once when all data that the sockets held is handed over."""
        if not self._idle:
            # Due timers run after the sockets are read and, unlike callbacks, do not need to wake the loop.
            self.later(timedelta(), self._at_end)
        self._idle.append(function)

    def run(self, clean: Callable[[], None]) -> None:
        """Run until `stop`, or until a function fails; then call *clean*, which leads to `stop`, and raise it."""
        try:
            self._native.start()
            if self._failure is not None:
                self._cleaning = True
                clean()
                self._native.start()
        finally:
            self._ran = True
            self._native.close()
            self._calls.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Leave `run`."""
        self._native.stop()

    def fail(self, error: BaseException) -> None:
        """Leave `run` with *error*; only the first error counts."""
        if self._failure is None:
            self._failure = error
            self._native.stop()

    def _run_calls(self, _descriptor: int, _events: int) -> None:
        for function in self._calls.take():
            self._guard(function)

    def _at_end(self) -> None:
        functions, self._idle = self._idle, []
        for function in functions:
            self._guard(function)

    def _guard(self, function: Callable[[], None]) -> None:
        if self._failure is None or self._cleaning:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - `run` raises it
                self.fail(error)
