"""Whether something that handlers depend on is called at all.  No clock, no store: only decisions.

A target that failed so often in a row is left alone for a time: deliveries that need it wait in the broker, and use up
no attempt.  Then one is let through to try; its success closes the breaker, its failure opens it for longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

PATIENCE = 5
"""Failures in a row until it opens."""

FIRST = timedelta(seconds=30)
LONGEST = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Breaker:
    """One target: how often it *failed* in a row, and *until* when it is left alone; None while it is closed."""

    target: str
    failed: int = 0
    until: datetime | None = None
    opened: datetime | None = None
    reason: str = ""

    def wait(self, now: datetime) -> timedelta | None:
        """Return how long to wait before the target is called; None where it may be called now.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> Breaker("post a:443", 5, noon + FIRST).wait(noon)
        datetime.timedelta(seconds=30)
        """
        return self.until - now if self.until and self.until > now else None

    def probed(self, now: datetime) -> Breaker:
        """Return it with one delivery let through at *now*; until that has an outcome, others wait."""
        return Breaker(self.target, self.failed, now + FIRST, self.opened, self.reason) if self.until else self

    def after_failure(self, now: datetime, reason: str) -> Breaker:
        """Return it after one more failure.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> Breaker("post a:443", 4).after_failure(noon, "timeout").wait(noon)
        datetime.timedelta(seconds=30)
        >>> Breaker("post a:443", 6, noon, noon).after_failure(noon, "timeout").wait(noon)
        datetime.timedelta(seconds=120)
        """
        failed = self.failed + 1
        if failed < PATIENCE:
            return Breaker(self.target, failed, None, None, reason)
        pause = min(LONGEST, FIRST * 2 ** min(failed - PATIENCE, 10))
        return Breaker(self.target, failed, now + pause, self.opened or now, reason)
