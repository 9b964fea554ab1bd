"""Named timers: at most one timer of each name runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from .connection import IOLoop


class Timers:
    """The timers of one owner in one loop; `name in timers` tests whether that timer runs."""

    def __init__(self, loop: IOLoop) -> None:
        """Run the timers in *loop*."""
        self._loop = loop
        self._running: dict[str, object] = {}

    def __contains__(self, name: str) -> bool:
        """Return whether the timer *name* runs."""
        return name in self._running

    def start(self, name: str, delay: float, function: Callable[[], None]) -> None:
        """Call *function* after *delay* seconds; replaces a running timer *name*."""
        self.stop(name)
        self._running[name] = self._loop.call_later(delay, partial(self._expire, name, function))

    def stop(self, name: str) -> None:
        """Stop the timer *name*, if it runs."""
        timer = self._running.pop(name, None)
        if timer is not None:
            self._loop.remove_timeout(timer)

    def stop_all_but(self, name: str) -> None:
        """Stop all timers but *name*."""
        for each in [one for one in self._running if one != name]:
            self.stop(each)

    def _expire(self, name: str, function: Callable[[], None]) -> None:
        del self._running[name]
        function()
