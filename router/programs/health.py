"""What a long-running program knows of its own health: whether it works, and if not, why and since when.

It tells systemd.  A program is *ready* when it serves, or when it knows why it does not: a broker that is down neither
fails the start of a program nor has it restarted.  It is *alive* while its loop turns.  Nothing in a loop waits for a
broker, and each wait for a database is bounded.  A loop that stands still longer than the watchdog allows is stuck,
perhaps on a disk that hangs: a restart is right, and meanwhile the broker gives its messages to another program.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .. import redaction
from ..broker.interface import Broker, ConnectionState
from ..terminal_text import visible
from .systemd_notify import Notifier

_OFTEN, _EVERY = timedelta(milliseconds=100), timedelta(seconds=5)
"""Between two looks at the state, before and after the program is ready."""

_PATIENCE = timedelta(seconds=30)
"""A program that knows nothing after so long is ready all the same."""

PROBLEM = "problem: "
"""How the line begins that systemd shows of a program that does not serve; the relay's begins so, too."""

_MINUTE = 60.0
_MOST = 500


@dataclass(frozen=True, slots=True)
class Activity:
    """What a program does: *doing*, and how many *unit* it has *handled* since it started, and holds unfinished.

    *problem* says what keeps it from working that is not the broker's connection, and is empty otherwise.
    """

    doing: str
    handled: int
    unfinished: int
    unit: str = "events"
    problem: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """The state of a program in one *sentence*; *problem* is empty where it serves, *since* when it began."""

    sentence: str
    problem: str
    since: datetime
    is_connected: bool = False


def _now() -> datetime:
    return datetime.now(UTC)


class Health:
    """Looks at the state of one program every few seconds, in the broker's thread; other threads may read it."""

    def __init__(
        self,
        broker: Broker,
        activity: Callable[[], Activity],
        notifier: Notifier,
        *,
        clock: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the connection of *broker* and at *activity*, from `start` on; tell *notifier*."""
        self._broker, self._activity, self._notifier = broker, activity, notifier
        self._clock, self._monotonic = clock, monotonic
        self._counts: deque[tuple[float, int]] = deque()
        self._began = self.turned = monotonic()
        self._is_ready = False
        self.state = State("starting", "starting", clock())

    def start(self) -> None:
        """Begin when `broker.run` runs."""
        self._broker.later(timedelta(), self._turn)

    def stopping(self) -> None:
        """Tell that the program is stopping."""
        self._notifier.stopping()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the program reloads while the block runs; for any thread."""
        if self._is_ready:
            self._notifier.reloading()
        try:
            yield
        finally:
            if self._is_ready:
                self._notifier.ready()

    def _turn(self) -> None:
        self.turned = self._monotonic()
        before, self.state = self.state, self._look()
        if self.state.sentence != before.sentence:
            self._notifier.status(self.state.sentence)
        is_settled = self._broker.connection.is_settled
        if not self._is_ready and (is_settled or self.turned - self._began > _PATIENCE.total_seconds()):
            self._is_ready = True
            self._notifier.ready()
        self._notifier.alive()
        pause = _EVERY if self._is_ready else _OFTEN
        self._broker.later(min(pause, self._notifier.limit / 2) if self._notifier.limit else pause, self._turn)

    def _look(self) -> State:
        activity, connection, moment = self._activity(), self._broker.connection, self._clock()
        problem = "; ".join(filter(None, (_problem_of(connection), activity.problem)))
        since = self.state.since if bool(problem) == bool(self.state.problem) else moment
        work = f"{self._rate(activity.handled)} {activity.unit} a minute, {activity.unfinished} unfinished"
        if not problem:
            sentence = "; ".join((activity.doing, f"connected to {connection.broker}", work, *connection.differing))
        else:
            sentence = f"{PROBLEM}{problem}, since {since:%Y-%m-%d %H:%M} UTC; {work}"
        shown = visible(redaction.redact(sentence))[:_MOST]
        return State(shown, redaction.redact(problem), since, is_connected=not connection.problem)

    def _rate(self, handled: int) -> int:
        """Return how many were handled in the last minute."""
        self._counts.append((self.turned, handled))
        while self.turned - self._counts[0][0] > _MINUTE:
            self._counts.popleft()
        return max(0, handled - self._counts[0][1])


def _problem_of(connection: ConnectionState) -> str:
    if connection.problem:
        return f"not connected to {connection.broker}: {connection.problem}"
    if connection.blocked:
        return f"{connection.broker} blocks publishing: {connection.blocked}"
    unread = f"the broker does not let it read {', '.join(connection.unread)}" if connection.unread else ""
    down = f"the broker cannot reach {', '.join(connection.down)}" if connection.down else ""
    return "; ".join(filter(None, (unread, down, *connection.unlike)))
