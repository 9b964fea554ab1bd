"""A look that a program takes regularly, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

log = logging.getLogger(__name__)

_MOMENT = 1.0
"""Seconds that a look has to finish at the end: its disk may hang."""


@contextmanager
def regularly(name: str, pause: timedelta, look: Callable[[], object], *, at_once: bool = False) -> Iterator[None]:
    """Call *look* in a thread *name* after each *pause*, until the block ends; *at_once* also now.

    Whatever it raises is logged with its traceback, and *look* is called again: one bad file or row ends nothing.  One
    that is under way when the block ends is waited for, a moment at most.
    """
    ended = threading.Event()

    def watch() -> None:
        is_due = at_once
        while True:
            if is_due:
                attempted(name, look)
            if ended.wait(pause.total_seconds()):
                return
            is_due = True

    thread = threading.Thread(target=watch, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_MOMENT)


def attempted(name: str, look: Callable[[], object]) -> bool:
    """Call *look*, which the log calls *name*; log whatever it raises, with its traceback, and return False then."""
    try:
        look()
    except Exception:
        log.exception("a regular look failed; it is taken again later", extra={"look": name})
        return False
    return True
