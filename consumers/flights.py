"""Deliveries that are on their way through a consumer, and how many took which way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from router.broker import Arrival

    from .deliveries import Delivery, Key, Outcome
    from .pools import Ticket
    from .servings import Serving

_REASONS = 100
"""Different reasons that are counted apart, at the most."""


@dataclass(slots=True, eq=False)
class Flight:
    """One delivery from its arrival until it is acknowledged.

    *arrivals* are all messages that brought this attempt: they are acknowledged together, when it has been acted on;
    *since* is when it came, or was last entrusted to the broker.
    *others* brought another attempt of the same delivery meanwhile: they are looked at after that.  *is_old* says that
    its outcome is another attempt's.  *lane* is what it has in common with those that it keeps an order with, *targets*
    what its handler depends on.  *is_begun* says that
    its handler was called for this very attempt before: no gate holds it up again.
    """

    key: Key
    delivery: Delivery
    serving: Serving
    arrivals: list[Arrival]
    since: datetime
    others: list[Arrival] = field(default_factory=list)
    started: datetime | None = None
    ended: datetime | None = None
    outcome: Outcome | None = None
    is_recorded: bool = False
    is_begun: bool = False
    ticket: Ticket | None = None
    called: datetime | None = None
    is_old: bool = False
    lane: str = ""
    targets: tuple[str, ...] = ()
    origin: Arrival = field(init=False)

    def __post_init__(self) -> None:
        """Keep the first arrival: its headers travel on, and it may be settled long before the end."""
        self.origin = self.arrivals[0]

    @property
    def is_waiting(self) -> bool:
        """Whether its handler is to be called, as far as is known."""
        return self.outcome is None and self.ticket is not None

    @property
    def is_called(self) -> bool:
        """Whether its handler was called, or is about to be."""
        return self.ticket is not None and not self.ticket.is_cancelled


@dataclass(slots=True)
class Counts:
    """What became of the arrivals of one subscription since the consumer started.

    *repeated* were acted on by an outcome that was there already.  *unmatched* did not pass the filter; *unevaluated*
    says for how many of them it could not be evaluated, by reason.
    """

    done: int = 0
    retried: int = 0
    dead: int = 0
    skipped: int = 0
    waited: int = 0
    repeated: int = 0
    duplicates: int = 0
    unreadable: int = 0
    unmatched: int = 0
    unevaluated: Counter[str] = field(default_factory=Counter)

    def no_match(self, reason: str) -> None:
        """Count an event that the filter did not let pass; *reason* where it could not be evaluated."""
        self.unmatched += 1
        if reason:
            is_known = reason in self.unevaluated or len(self.unevaluated) < _REASONS
            self.unevaluated[reason if is_known else "other reasons"] += 1
