"""How events are published while a queue of others refuses them.  Arithmetic over moments, no I/O.

The broker confirms an event only if all queues that it matches take it, and does not say which one refuses.  So an
event that was refused is published to our own queues alone: if they take it, a queue of others refuses.  From then on
each event is published in two parts, first to our own queues, then once to those of others, until these have taken all
for a while.

A queue of others may also answer nothing at all, as a quorum queue without majority does, and RabbitMQ then takes
nothing more from the channel, or the connection, that published to it.  From then on the second part has a connection
of its own, and nobody waits for it: see `others_outbox`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum

QUIET = timedelta(seconds=30)
"""How long the queues of others must refuse nothing before events are published to all queues at once again."""

PATIENCE = timedelta(seconds=3)
"""How long all events wait where one is refused: a queue whose leader crashed refuses events until it has another."""

_BREAK = 2 * PATIENCE
"""How long nothing is refused between two episodes.  What is refused is sent again each second: see `longest_pause`."""

_LONGEST_QUIET = timedelta(hours=1)

SILENCE = timedelta(seconds=10)
"""After how long an unanswered event counts as held back by a queue of others; longer than an election of leaders."""


class Part(Enum):
    """The queues that one publishing of an event is for."""

    ALL = "all queues"
    OWN = "our own queues"
    OTHERS = "the queues of others"


@dataclass(frozen=True, slots=True)
class Together:
    """Events are published to all queues at once; earlier refusals ended at *since*, after *quiet* without any.

    *refused* is when the first and the last of the present refusals came, if there are any.
    """

    since: timedelta
    quiet: timedelta
    refused: tuple[timedelta, timedelta] | None = None


@dataclass(frozen=True, slots=True)
class Apart:
    """Events are published in two parts, where that is possible, until *quiet* has passed since *refused*.

    *count* events were refused by queues of others; while it is 0, nothing proves that it is theirs.  *is_silent* says
    that an event was not answered at all.
    """

    refused: timedelta
    quiet: timedelta
    count: int = 0
    is_silent: bool = False


class ForeignQueues:
    """What is known of the queues of others at `clusterbus.events`."""

    def __init__(self, clock: Callable[[], timedelta]) -> None:
        """Begin with events for all queues at once; *clock* gives the time since any moment."""
        self.clock = clock
        self._state: Together | Apart = Together(clock() - _LONGEST_QUIET, QUIET)
        self.is_separable = True
        """Whether our own queues can be published to alone, as far as is known."""

    @property
    def are_apart(self) -> bool:
        """Whether events are published in two parts."""
        return self.is_separable and isinstance(self._state, Apart)

    @property
    def are_silent(self) -> bool:
        """Whether nobody waits for the queues of others, because one answers nothing."""
        return self.are_apart and isinstance(self._state, Apart) and self._state.is_silent

    @property
    def longest_pause(self) -> timedelta:
        """How long to wait at most before refused events are sent again: less while it may be the queues of others."""
        refused = self._state.refused if isinstance(self._state, Together) else None
        return PATIENCE / 3 if refused and self.clock() - refused[1] < PATIENCE else timedelta.max

    @property
    def refusals(self) -> int:
        """How many events queues of others have refused since they began to; 0 if they refuse none."""
        return self._state.count if isinstance(self._state, Apart) else 0

    def refused_by_any(self) -> bool:
        """Note that an event for all queues was refused; return whether to publish it in two parts.

        The refusals need not follow one another: a queue may take an event now and then.
        """
        now, before = self.clock(), self._state
        if isinstance(before, Apart):
            if not self.is_separable:
                self._state = replace(before, refused=now)
            return self.is_separable
        if not self.is_separable:
            return False
        first, last = before.refused or (now, now)
        if now - last > _BREAK:
            first = now
        if now - first < PATIENCE:
            self._state = Together(before.since, before.quiet, (first, now))
            return False
        self._state = Apart(now, _quiet(before, first))
        return True

    def unanswered(self) -> bool:
        """Note that an event was not answered; return whether to publish it in two parts, and wait for one only."""
        if not self.is_separable:
            return False
        now, before = self.clock(), self._state
        if isinstance(before, Apart):
            self._state = replace(before, refused=now, is_silent=True)
        else:
            self._state = Apart(now, _quiet(before, now), is_silent=True)
        return True

    def refused_by_others(self) -> None:
        """Note that queues of others refused an event that was for them alone, or did not answer."""
        if isinstance(self._state, Apart):
            self._state = replace(self._state, refused=self.clock(), count=self._state.count + 1)

    def taken_by_others(self) -> None:
        """Note that all queues of others took an event that was for them alone, or for all."""
        state = self._state
        if isinstance(state, Apart) and (now := self.clock()) - state.refused >= state.quiet:
            self._state = Together(now, state.quiet)

    def inseparable(self) -> None:
        """Note that our own queues cannot be published to alone: the broker lacks their exchange, or our rights.

        If queues of others were seen to refuse events, that has not ended by this.
        """
        self.is_separable = False
        if not self.refusals:
            self._state = Together(self.clock(), QUIET)

    def reconnected(self) -> None:
        """Note that there is another connection: the exchange and our rights may be there by now."""
        self.is_separable = True


def _quiet(before: Together, first: timedelta) -> timedelta:
    """Return how long nothing must be refused now: whoever refuses again soon is trusted later each time.

    Every change costs some copies.
    """
    return min(before.quiet * 2, _LONGEST_QUIET) if first - before.since < before.quiet else QUIET
