"""Bounded waiting: a test waits for what it is about, never for a while."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

Seen = TypeVar("Seen")

_POLL = 0.01

SLACK = 4
"""How many times slower than a quiet machine the tests may run. All limits are written for a quiet machine."""


def wait_for(condition: Callable[[], Seen], timeout: float | timedelta, what: str, *, pause: float = _POLL) -> Seen:
    """Return what *condition* returns as soon as that is true; fail with *what* after *timeout* (seconds, if a number).

    *timeout* is what a quiet machine needs at most: it fails after `SLACK` times as long. So *timeout* never asserts
    that something is quick. The last look is taken after the time is up, so a machine that stood still for a while
    makes no test fail.  *pause* is between two looks, longer where a look is dear.
    """
    seconds = SLACK * (timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() >= deadline
        seen = condition()
        if seen:
            return seen
        if late:
            raise AssertionError(f"not within {seconds:g} s: {what} (last seen: {seen!r})")
        time.sleep(pause)
