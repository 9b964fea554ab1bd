"""One connection after another to one of several brokers; each is made ready before it is used.

A connection is ready when the topology is declared over it.  After a lost connection and a pause, the next one is
opened, to the next broker.

Queues that the broker cannot reach are waited for, for a while: one of a stream takes a second after a restart of the
broker, and misses what is published meanwhile.  Then all else goes on without them, and they are asked for again and
again.  So are queues that differ from ours, once a minute.  One that breaks or stops the connection when it is declared
is left for some minutes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Protocol

from ...errors import BrokerError, QueuesDown, Refused
from ..addresses import Address, Pauses
from ..declaration_steps import Step, later_steps
from ..differences import Unlike
from .declarations import LEFT, Declaring, Denials
from .pika_types import Connection, Later, cause_of, code_of, is_breaking, lost_stream, text_of

log = logging.getLogger(__name__)

_LOOK_AGAIN = timedelta(minutes=1)
"""How often we look whether what differs from ours still does: RabbitMQ logs each time."""

_STEADY = timedelta(seconds=5)
"""A connection that lived this long was a good one: after it, the first pause is short."""


class Work(Protocol):
    """What is done over a connection."""

    def hold(self) -> None:
        """Start nothing new until `ready`."""

    def ready(self, connection: Connection) -> None:
        """Work over *connection*; called again when more is declared over it."""

    def lost(self) -> None:
        """Note that the connection is lost, with all its channels."""


Connect = Callable[[Address, dict[str, Callable[..., None]]], Connection]
"""Begins to open a connection; the names of its callbacks are pika's."""


class Line:
    """One connection, opened again whenever it is lost; its work begins when the topology is declared over it."""

    def __init__(  # noqa: PLR0913 - each is one collaborator
        self,
        role: str,
        work: Work,
        *,
        turns: Iterator[Address],
        pauses: Pauses,
        later: Later,
        connect: Connect,
        is_denial: Callable[[BaseException], bool],
        denied: Denials,
        failed: Callable[[BaseException], None],
        impatient: bool,
        limit: timedelta,
        patience: timedelta = timedelta(),
        then: Callable[[Connection | None], None] = lambda _: None,
    ) -> None:
        """Do *work*, and call *then*, over connections that *connect* opens to the brokers of *turns*.

        *then* is called with a connection that is ready, and with None when it is no longer ready.  *denied* keeps
        what we may not declare, and is updated.  When *impatient*, *failed* gets errors that end the line: all that an
        operator must fix.  A declaration may take *limit*; queues that the broker cannot reach are waited for until a
        connection is *patience* old.
        """
        self._role, self._work, self._turns, self._pauses, self._later = role, work, turns, pauses, later
        self._connect, self._is_denial, self._denied, self._failed = connect, is_denial, denied, failed
        self.impatient, self._limit, self._patience, self._then = impatient, limit, patience, then
        self._connection: Connection | None = None
        self._waiting: Callable[[], None] | None = None
        self._stuck: Callable[[], None] | None = None
        self._mending: Callable[[], None] | None = None
        self._wanted: list[Step] = []
        self._todo: list[Step] = []
        self._declaring: Declaring | None = None
        self._opened_at = 0.0
        self._ended: Callable[[], None] | None = None
        self.address: Address | None = None
        self.reason = self.problem = "no connection was attempted yet"
        self.down: tuple[str, ...] = ()
        """The queues without which the work goes on."""

        self.was_ready = self.was_tried = False

    def start(self) -> None:
        """Open the connection, now and each time it is lost."""
        self._waiting = None
        if self._connection is not None:
            return
        self.address = next(self._turns)
        if not self.was_tried:
            self.reason = self.problem = "the broker has not answered yet"
        callbacks: dict[str, Callable[..., None]] = {
            "on_open_callback": self._opened,
            "on_open_error_callback": self._not_opened,
            "on_close_callback": self._closed,
        }
        self._connection = self._connect(self.address, callbacks)

    @property
    def connection(self) -> Connection | None:
        """The connection if it is open, otherwise None."""
        connection = self._connection
        return connection if connection is not None and connection.is_open else None

    def declare(self, todo: list[Step]) -> None:
        """Take the steps *todo* over this connection and each that follows."""
        self._wanted = later_steps(self._wanted, todo)
        self._todo += todo
        self._work.hold()
        self._then(None)
        self._declare()

    def redeclare(self) -> None:
        """Declare all again, then continue."""
        self._leave_mending()
        if self.connection is not None:
            self._todo = list(self._wanted)
            self._declare()

    def drop(self, reason: str) -> None:
        """Break the connection without a handshake: the broker may never answer one."""
        if self._connection is not None:
            self._connection.drop(reason)

    def end(self, ended: Callable[[], None], *, at_once: bool) -> None:
        """Close the connection and do not open another; *ended* is called when it is closed."""
        self._ended = ended
        if self._waiting:
            self._waiting()
        if self._connection is None:
            self._later(timedelta(), ended)
        elif at_once:
            self.drop("ended")
        elif not self._connection.is_closing and not self._connection.is_closed:
            self._connection.close()

    def _opened(self, connection: Connection) -> None:
        if self._ended:
            connection.close()
            return
        self._opened_at = time.monotonic()
        self._todo, self._declaring = list(self._wanted), None
        self._declare()

    def _declare(self) -> None:
        if self.connection is None or self._declaring is not None:
            return
        if self._stuck is None:
            self._stuck = self._later(self._limit, self._is_stuck)
        # What is asked for again tells whether all is there.
        todo, self._todo = list(self._wanted) if self.down else self._todo, []
        self._declaring = Declaring(self.connection, todo, self._denied, self._declared)

    def _declared(self, error: BrokerError | None) -> None:
        self._declaring = None
        down = error if isinstance(error, QueuesDown) and self._has_waited_for(error.queues) else None
        unlike = self._unlike
        if self.impatient and ((error and (down or not isinstance(error, QueuesDown))) or (unlike and not error)):
            self._failed(Refused(str(error or "; ".join(f"{each}; {each.way_out}" for each in unlike))))
        elif error and not down:
            # A stream takes a second after each start of the broker.
            level = logging.INFO if isinstance(error, QueuesDown) else logging.ERROR
            pause = self._pauses.next()
            log.log(level, "topology not declared", extra={"reason": str(error), "pause": pause.total_seconds()})
            self._mend_later(pause)
            self.problem, self.was_tried = f"topology not declared: {error}", True
        elif self._todo:
            # With what came meanwhile, so that one round says what is down.
            self._todo = list(self._wanted) if down else self._todo
            self._declare()
        elif self.connection is not None:
            self._go_on(self.connection, down)

    @property
    def _unlike(self) -> list[Unlike]:
        """What of this line's topology differs from ours."""
        return [known for each in self._wanted if (known := self._denied.unlike.get(str(each)))]

    def _has_waited_for(self, queues: Iterable[str]) -> bool:
        has_waited = time.monotonic() - self._opened_at >= self._patience.total_seconds()
        return has_waited or all(map(self._denied.is_broken, queues))

    def _go_on(self, connection: Connection, down: QueuesDown | None) -> None:
        self._unstick()
        if not self.was_ready or self.reason:
            log.info("connected to the broker", extra={"line": self._role, "broker": str(self.address)})
        self._note(down)
        self.was_ready, self.reason, self.problem, self.was_tried = True, "", "", True
        self._work.ready(connection)
        self._then(connection)

    def _note(self, down: QueuesDown | None) -> None:
        """Ask again for the queues that are *down*, and log it once; also for those that differ."""
        before, self.down = self.down, down.queues if down else ()
        if down or self._unlike:
            self._mend_later(self._pauses.next() if down else _LOOK_AGAIN)
        if down:
            if self.down != before:
                log.error(
                    "the broker cannot reach queues, going on without them; run: clusterbus doctor",
                    extra={"line": self._role, "queues": self.down, "reason": str(down)},
                )
        elif before:
            log.info("the broker reaches all queues again", extra={"line": self._role, "queues": before})

    def _mend_later(self, pause: timedelta) -> None:
        """Declare all again after *pause*."""
        # The broker has answered, so it is not stuck.
        self._unstick()
        self._leave_mending()
        self._mending = self._later(pause, self.redeclare)

    def _is_stuck(self) -> None:
        self._stuck = None
        reason = "the broker did not answer a declaration within the progress limit"
        self._leave_awaited(reason)
        self.drop(reason)

    def _leave_awaited(self, reason: str) -> None:
        """Leave the queue that the broker was asked for, if it was: it breaks or stops the connection."""
        if queue := self._declaring.awaited if self._declaring else "":
            self._leave(queue, reason)

    def _leave(self, queue: str, reason: str, *, is_lost: bool = False) -> None:
        self._denied.leave(queue, reason, is_lost=is_lost)
        self._later(LEFT, partial(self._denied.ask_again, queue))

    def _unstick(self) -> None:
        if self._stuck:
            self._stuck()
            self._stuck = None

    def _leave_mending(self) -> None:
        if self._mending:
            self._mending()
            self._mending = None

    def _not_opened(self, _connection: object, error: BaseException) -> None:
        cause = cause_of(error)
        denied = self._is_denial(cause)
        self._gone("the broker refuses our credentials" if denied else "the broker is unreachable", cause)
        if denied and self.impatient and not self._ended:
            self._failed(Refused(f"{self.address} refuses us: {self.reason}; check user, password and virtual host"))

    def _closed(self, _connection: object, error: BaseException) -> None:
        text = text_of(error)
        if (lost := lost_stream(text)) and any(each.queue == lost for each in self._wanted):
            self._leave(lost, text, is_lost=True)
        elif is_breaking(code_of(error)):
            self._leave_awaited(text)
        self._gone("lost the connection to the broker", error)

    def _gone(self, sentence: str, error: BaseException) -> None:
        self._connection, self._declaring, self.down = None, None, ()
        self._unstick()
        self._leave_mending()
        self._work.lost()
        self._then(None)
        if self._ended:
            self._ended()
            return
        if self._opened_at and time.monotonic() - self._opened_at > _STEADY.total_seconds():
            self._pauses.reset()
        self._opened_at = 0.0
        pause = self._pauses.next()
        self.reason, self.was_tried = text_of(error), True
        self.problem = f"{sentence}: {self.reason}"
        facts = {"line": self._role, "broker": str(self.address), "reason": self.reason}
        log.warning(sentence, extra=facts | {"pause": round(pause.total_seconds(), 3)})
        self._waiting = self._later(pause, self.start)


def end_all(lines: Iterable[Line], ended: Callable[[], None], *, at_once: bool) -> None:
    """Close all *lines*; *ended* is called when the last one is closed."""
    left = set(lines)

    def one_ended(line: Line) -> None:
        left.discard(line)
        if not left:
            ended()

    for line in list(left):
        line.end(partial(one_ended, line), at_once=at_once)
