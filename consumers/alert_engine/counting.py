"""Who counts the time that passes for alerts: one engine, by what all see in the store, whatever clocks say.

The broker gives the queue to one consumer; who gets events counts.  Where there are no events, an engine takes over
once nobody has counted for a while by its own steady clock.  Each writes under the lock of the store, so that two that
cannot see each other, and both count, do nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.engine import Connection

from ..store.alerts import passed_time
from ..store.alerts.passed_time import Passed

UNCOUNTED = timedelta(seconds=30)
"""After how long without a count another engine takes over."""

EVERY = timedelta(seconds=10)
"""How often the time is counted at least."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MILLISECOND = timedelta(milliseconds=1)


def since_boot() -> int:
    """Return the milliseconds since this host was booted, also those asleep."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Counting:
    """Counts the time that passes for alerts, while that is up to this engine."""

    def __init__(self, owner: str, clock: Callable[[], datetime], steady: Callable[[], int] = since_boot) -> None:
        """Count as *owner*, a name that no other process has; *steady* gives the milliseconds since the boot."""
        self._owner, self._clock, self._steady = owner, clock, steady
        self._boot = ""
        with suppress(OSError):
            self._boot = _BOOT.read_text(encoding="ascii").strip()
        self._seen: tuple[int, int] | None = None
        self.is_ours = False
        """Whether this engine counts, by what it saw last."""

    def take(self, transaction: Connection) -> int:
        """Count from now on, and write it; return the milliseconds that have passed.  The store is locked."""
        known = passed_time.read(transaction)
        counted = self._counted(known)
        passed_time.write(transaction, counted)
        self.is_ours = True
        return counted.passed

    def look(self, transaction: Connection) -> tuple[int, bool] | None:
        """Return the milliseconds that have passed, and whether that is to be written; None if another counts."""
        known = passed_time.read(transaction)
        if known and known.owner != self._owner and not self._is_abandoned(known):
            self.is_ours = False
            return None
        counted = self._counted(known)
        is_new = known is None or known.owner != self._owner
        return counted.passed, is_new or counted.passed - (known.passed if known else 0) >= EVERY // _MILLISECOND

    def _counted(self, known: Passed | None) -> Passed:
        now, booted = self._clock(), self._steady()
        if known is None:
            return Passed(0, self._owner, self._boot, booted, now, 1)
        return known.counted(self._owner, self._boot, booted, now)

    def _is_abandoned(self, known: Passed) -> bool:
        now = self._steady()
        if self._seen is None or self._seen[0] != known.ticks:
            self._seen = (known.ticks, now)
        return now - self._seen[1] >= UNCOUNTED // _MILLISECOND
