"""Where a stream has its events from: a broker, or a double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from router.broker.interface import Arrival

Item = Arrival | BaseException | None
"""A message, the error that ended the source, or None at the end."""

Deliver = Callable[[Item], None]


class Source(Protocol):
    """Delivers messages until it is closed; each is settled once."""

    def start(self, deliver: Deliver) -> None:
        """Begin; *deliver* may be called in another thread."""

    def holds(self, arrival: Arrival) -> bool:
        """Say whether *arrival* can still be settled; if not, it comes again."""

    def ack(self, arrival: Arrival) -> None:
        """Take *arrival* out of its queue."""

    def requeue(self, arrival: Arrival) -> None:
        """Return *arrival* to its queue, which counts as one of its deliveries."""

    def dead_letter(self, arrival: Arrival) -> None:
        """Put *arrival* into the dead-letter queue."""

    def close(self, returned: Arrival | None = None) -> None:
        """End; *returned*, and what else is not settled, goes back to its queue."""
