"""What is reported when queues that are not ours begin to refuse events, and when they have ended.  Pure.

How many events were refused is in the state, for all routers over it and across restarts.  A router that has just
begun, or is only the standby, knows of no refusal; that is no proof that there are none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..broker.outgoing.foreign_queues import QUIET


@dataclass(frozen=True, slots=True)
class Refusing:
    """Queues of others refuse events: *count* so far."""

    count: int


@dataclass(frozen=True, slots=True)
class RefusingEnded:
    """No queue refuses events any more; *count* is how many were refused, as far as was seen."""

    count: int


@dataclass(frozen=True, slots=True)
class Watch:
    """What one router knew of refusals when it last looked.

    It has seen *mine* events refused in this episode.  The state had *stored*, of all routers, unchanged *since*.
    Queues had taken *taken* events of this router when the quiet period that began *since* was over.
    """

    stored: int
    since: datetime
    mine: int = 0
    taken: int = 0

    def look(
        self, *, mine: int, stored: int, taken: int, moment: datetime
    ) -> tuple[Watch, int, Refusing | RefusingEnded | None]:
        """Return what is known at *moment*, the number for the state, 0 if refusals have ended, and what to report.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> watch, stored, found = Watch(0, noon).look(mine=3, stored=0, taken=0, moment=noon)
        >>> stored, found
        (3, Refusing(count=3))
        >>> watch.look(mine=0, stored=3, taken=5, moment=noon)[1:]
        (0, RefusingEnded(count=3))
        """
        new = mine - self.mine if mine >= self.mine else mine
        if new:
            return Watch(stored + new, moment, mine, taken), stored + new, None if stored else Refusing(new)
        if stored != self.stored:
            # Another router saw it.
            return Watch(stored, moment, mine, taken), stored, None
        is_quiet = moment - self.since >= QUIET
        # Where this router saw refusals itself, the broker's client has waited until queues took all for a while.
        if stored and not mine and (self.mine or (is_quiet and taken > self.taken)):
            return Watch(0, moment, mine, taken), 0, RefusingEnded(stored)
        return Watch(stored, self.since, mine, self.taken if is_quiet else taken), stored, None
