"""A loop whose functions may fail: what one raises ends the loop and is raised by `run`.

The loop itself is pika's, which would take an exception out of a function of ours for a broken connection.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from .calls import Calls


class Native(Protocol):
    """What we use of pika's loop."""

    READ: int

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Call *handler* when *fd* is ready."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Call *callback* after *delay*, in seconds."""

    def remove_timeout(self, timeout_handle: object) -> None:
        """Take back what `call_later` returned."""

    def start(self) -> None:
        """Run until `stop`; may be called again."""

    def stop(self) -> None:
        """Leave `start`."""

    def close(self) -> None:
        """Free its descriptors."""


class Loop:
    """Calls functions in the thread that is in `run`."""

    def __init__(self, native: Native) -> None:
        """Run on *native*."""
        self._native = native
        self._calls = Calls()
        native.add_handler(self._calls.descriptor, self._run_calls, native.READ)
        self._idle: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._cleaning = self._ran = False

    def call(self, function: Callable[[], None]) -> None:
        """Have *function* called soon; from any thread or signal handler."""
        self._calls.put(function)

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        """Have *function* called after *delay*; returns a function that takes it back."""
        if self._ran:
            return lambda: None
        timeout = self._native.call_later(max(0.0, delay.total_seconds()), lambda: self._guard(function))

        def take_back() -> None:
            if not self._ran:
                self._native.remove_timeout(timeout)

        return take_back

    def when_idle(self, function: Callable[[], None]) -> None:
        """Have *function* called once when what the sockets held is handed over."""
        if not self._idle:
            # Timers that are due run after the sockets were read, and, unlike callbacks, need no waking.
            self.later(timedelta(), self._at_end)
        self._idle.append(function)

    def run(self, clean: Callable[[], None]) -> None:
        """Run until `stop`, or until a function fails: then *clean*, which leads to `stop`, and raise that failure."""
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
        """Leave `run` with *error*; only the first counts."""
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
            except BaseException as error:  # noqa: BLE001 - raised from `run`, whoever called
                self.fail(error)
