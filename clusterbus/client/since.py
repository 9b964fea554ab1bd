"""Where a program begins to read the history: after an event, or at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from router.broker.interface import history_offset
from router.model import ids, moments

Since = str | datetime | timedelta
"""`2h`, `18:00`, `2026-11-20T18:00Z`, the id of an event, a moment or a duration."""

_SKEW = timedelta(minutes=5)
"""How much later than the broker's the clock of a node may be: the id of an event has the node's time."""


@dataclass(frozen=True, slots=True)
class Position:
    """The *moment* to read the history from; with *after*, only what follows that event is wanted."""

    moment: datetime
    after: str = ""

    def interval(self, now: datetime) -> str:
        """Return how far back that is at *now*, as RabbitMQ reads it."""
        return history_offset(now - self.moment + timedelta(seconds=1))


def position(since: Since, now: datetime | None = None) -> Position:
    """Return where *since* is.  Raises ValueError, which says what to write instead.

    >>> position("2h", datetime(2026, 11, 20, 12, tzinfo=UTC)).moment.isoformat()
    '2026-11-20T10:00:00+00:00'
    >>> position("01HF7YAT00CH9F3S5GQX0ZJ1YV").moment.isoformat()
    '2023-11-14T22:08:20+00:00'
    """
    now = now or datetime.now(UTC)
    if isinstance(since, timedelta):
        try:
            return Position(now - abs(since))
        except OverflowError:
            raise ValueError(f"since= is {since}: that is too long ago") from None
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise ValueError(f"since= is {since}, without a time zone: write since.astimezone() for local time")
        return Position(since)
    if ids.is_id(since):
        return Position(ids.moment_of(since) - _SKEW, after=since)
    zone = now.astimezone().tzinfo or UTC
    try:
        return Position(moments.read(since, now, zone, ahead=False).moment)
    except ValueError as error:
        raise ValueError(f"since=: {error}, or the id of an event") from None
