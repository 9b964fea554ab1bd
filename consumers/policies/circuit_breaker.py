"""Circuit breakers: targets are paused after repeated failures.  No clock and no store: only decisions.

A target that fails several times in a row is paused: deliveries that need it wait in the broker and use no attempt.
Then one delivery tests the target.  Its success closes the breaker; its failure opens the breaker for longer.

A target that says that it is gone for good is paused until a person closes its breaker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PATIENCE = 5
"""Number of failures in a row that opens a breaker."""

FIRST = timedelta(seconds=30)
LONGEST = timedelta(minutes=15)

FOR_GOOD = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a pause that only a person ends."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """One target: how often it *failed* in a row, and *until* when it is paused; None while the breaker is closed."""

    target: str
    failed: int = 0
    until: datetime | None = None
    opened: datetime | None = None
    reason: str = ""

    def wait(self, now: datetime) -> timedelta | None:
        """Return how long to wait before calling the target, or None to call it now.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> Breaker("post a:443", 5, noon + FIRST).wait(noon)
        datetime.timedelta(seconds=30)
        """
        if self.is_gone:
            return LONGEST
        return self.until - now if self.until and self.until > now else None

    @property
    def is_gone(self) -> bool:
        """Whether the target is gone for good: only a person closes the breaker."""
        return self.until == FOR_GOOD

    @property
    def next_try(self) -> datetime | None:
        """When the target may be called again; None if at once, or only after a person has closed the breaker."""
        return None if self.is_gone else self.until

    def gone(self, now: datetime, reason: str) -> Breaker:
        """Return the breaker after the target said that it is gone.

        >>> noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
        >>> breaker = Breaker("post a").gone(noon, "410 Gone")
        >>> breaker.is_gone, breaker.wait(noon + timedelta(days=99)), breaker.next_try
        (True, datetime.timedelta(seconds=900), None)
        """
        return Breaker(self.target, self.failed + 1, FOR_GOOD, now, reason)

    def probed(self, now: datetime) -> Breaker:
        """Return the breaker after one delivery was let through at *now*; others wait until it has an outcome."""
        return Breaker(self.target, self.failed, now + FIRST, self.opened, self.reason) if self.until else self

    def after_failure(self, now: datetime, reason: str) -> Breaker:
        """Return the breaker after one more failure.

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
