"""Declares a topology over one connection: one object after another, actively or passively.

If we may not declare an object (403), we ask passively whether it exists.  Before 4.2.6, RabbitMQ answers all users;
from then on only users with a right to the object; 4.2.6 and 4.3.0 only users who may declare it.  Without an answer we
assume that the object exists.  We assume that of bindings too, which AMQP cannot query.  So a program with the least
rights can start on a broker that somebody else has set up.

A queue that exists, but that the broker cannot reach, holds up nothing but itself: all else is declared, and then the
round ends with QueuesDown.  So does one that is missing and that we may not declare, and one that breaks the connection
or stops it when it is declared.

A queue or exchange that exists with other arguments than ours is compared with them until all differences are known,
and is then used as it is, unless what is in it, or comes to it, could be lost by that: see `differences`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from ...errors import BrokerError, QueuesDown
from ..declaration_steps import Step
from ..differences import Difference, Unlike, as_there, is_of_earlier_release, learn, unlike
from ..topology import Binding, Exchange, Queue
from .pika_types import Channel, Connection, code_of, is_down, is_missing_queue, text_of

log = logging.getLogger(__name__)

_DENIED, _UNLIKE = 403, 406

LEFT = timedelta(minutes=5)
"""How long a queue is left that breaks connections."""


class Missing(BrokerError):
    """An object is missing or could not be declared now: trying again may help."""


@dataclass(slots=True)
class Denials:
    """The names of steps that the broker denies: what we may not *declare*, and what we may not even *ask* for.

    *older* are those of queues that an earlier release has declared with fewer arguments.  *unlike* has what differs
    from ours, by step.  *breaking* are queues that broke or stopped a connection when they were declared, and why.
    *lost* are streams that broke one when something was published to them: they are bound no longer.
    """

    declare: set[str] = field(default_factory=set)
    ask: set[str] = field(default_factory=set)
    older: set[str] = field(default_factory=set)
    unlike: dict[str, Unlike] = field(default_factory=dict)
    breaking: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def learn(self, step: Step) -> None:
        """Note that *step* was denied: the first time as a declaration, the second time as a question."""
        first = str(step) not in self.declare and not isinstance(step.thing, Binding)
        (self.declare if first else self.ask).add(str(step))

    def leave(self, queue: str, reason: str, *, is_lost: bool) -> None:
        """Note that *queue* breaks or stops the connection, with *is_lost* whenever something is published to it."""
        (self.lost if is_lost else self.breaking)[queue] = reason
        log.error(
            "a queue breaks or stops the connection, going on without it; see the page router/broker/README.md",
            extra={"queue": queue, "reason": reason, "pause": LEFT.total_seconds()},
        )

    def ask_again(self, queue: str) -> None:
        """Declare and bind *queue* again from now on, although it broke a connection."""
        self.breaking.pop(queue, None)
        self.lost.pop(queue, None)

    def is_broken(self, queue: str) -> bool:
        """Say whether *queue* broke a connection, and so is not waited for."""
        return queue in self.breaking or queue in self.lost

    def left_out(self, queue: str) -> Unlike | None:
        """Return how *queue* differs, if it is so unlike ours that it is neither bound nor consumed; else None."""
        known = self.unlike.get(str(Step(Queue(queue))))
        return known if known and known.is_left_out else None

    def is_as_wanted(self, step: Step) -> None:
        """Note that what *step* declares is there, and does not differ."""
        if self.unlike.pop(str(step), None):
            log.info("it is as this version declares it again", extra={"thing": str(step)})

    def differs(self, step: Step, known: Unlike) -> None:
        """Note that what *step* declares is not as we want it, and log it once."""
        if self.unlike.get(str(step)) != known:
            self.unlike[str(step)] = known
            log.error(
                "it exists, but not as this version declares it",
                extra={"thing": str(step), "reason": str(known), "way_out": known.way_out},
            )

    def is_older(self, step: Step, reason: str) -> None:
        """Note that *step* declares a queue that an earlier release has declared, and log it once."""
        if str(step) not in self.older:
            self.older.add(str(step))
            log.warning(
                "a queue of an earlier release lacks limits; to get them, stop all routers, delete it once it is empty,"
                " and run clusterbus broker setup",
                extra={"queue": step.queue, "reason": reason},
            )


class Declaring:
    """One round of declarations; ends with exactly one call of *done*, unless the connection is lost first."""

    def __init__(
        self, connection: Connection, todo: Iterable[Step], denied: Denials, done: Callable[[BrokerError | None], None]
    ) -> None:
        """Take the steps *todo* over *connection*; *denied* keeps what we may not declare, and is updated.

        *done* gets None; or Missing, or QueuesDown.
        """
        self._connection, self._todo, self._denied, self._done = connection, list(todo), denied, done
        self._down: dict[str, str] = {}
        self._found: list[Difference] = []
        self._said = self._wrong = ""
        self._at = 0
        self._channel: Channel | None = None
        self._open()

    @property
    def awaited(self) -> str:
        """The queue that the broker was asked for, and has not answered; empty if there is none."""
        return self._todo[self._at].queue if self._channel is not None and self._at < len(self._todo) else ""

    def _open(self) -> None:
        self._channel = self._connection.channel(on_open_callback=self._ask)
        self._channel.add_on_close_callback(self._closed)

    def _ask(self, channel: Channel) -> None:
        while self._at < len(self._todo):
            step = self._todo[self._at] = self._as_possible(self._todo[self._at])
            if reason := self._denied.breaking.get(step.queue) or self._denied.lost.get(step.queue):
                self._down[step.queue] = reason
            if str(step) in self._denied.ask or self._is_left_out(step):
                self._next()
                continue
            self._send(channel, step, passive=str(step) in self._denied.declare)
            return
        self._channel = None
        channel.close()
        self._done(QueuesDown(self._down) if self._down else None)

    def _next(self) -> None:
        self._at += 1
        self._found, self._said = [], ""

    def _as_possible(self, step: Step) -> Step:
        """Return *step* as it can be taken: a queue that would lose what it gets is bound no longer."""
        if step.after in self._denied.ask:
            return replace(step, gone=False, after="")
        if not isinstance(step.thing, Binding):
            return step
        left_out = self._denied.left_out(step.queue)
        loses = step.queue in self._denied.lost or (left_out and left_out.loses)
        return replace(step, gone=True) if loses else step

    def _is_left_out(self, step: Step) -> bool:
        is_binding = isinstance(step.thing, Binding)
        if step.queue in self._down:
            return not (is_binding and step.gone and step.queue in self._denied.lost)
        return is_binding and not step.gone and self._denied.left_out(step.queue) is not None

    def _send(self, channel: Channel, step: Step, *, passive: bool) -> None:
        match step.thing:
            case Exchange(name, kind) if passive:
                channel.exchange_declare(name, kind, passive=True, callback=self._answered)
            case Queue(name) if passive:
                channel.queue_declare(name, passive=True, callback=self._answered)
            case (Exchange() | Queue()) as thing:
                self._declare(channel, thing)
            case Binding(exchange, queue, key, arguments, of_exchange):
                kind = "exchange" if of_exchange else "queue"
                tie = getattr(channel, f"{kind}_unbind" if step.gone else f"{kind}_bind")
                tie(queue, exchange, key, dict(arguments), self._answered)

    def _declare(self, channel: Channel, thing: Exchange | Queue) -> None:
        """Declare *thing* with the differences that are known so far, so that the broker names the next one."""
        arguments, flags = as_there(thing, self._found)
        if isinstance(thing, Exchange):
            kind = str(arguments.pop("type"))
            channel.exchange_declare(thing.name, kind, arguments=arguments, callback=self._answered, **flags)
        else:
            channel.queue_declare(thing.name, arguments=arguments, callback=self._answered, **flags)

    def _answered(self, _frame: object) -> None:
        channel, step = self._channel, self._todo[self._at]
        if channel is None:
            return
        if isinstance(step.thing, Exchange | Queue) and str(step) not in self._denied.declare:
            self._compared(step, step.thing)
        self._next()
        if self._wrong:
            self._channel = None
            channel.close()
            self._done(Missing(self._wrong))
        else:
            self._ask(channel)

    def _compared(self, step: Step, thing: Exchange | Queue) -> None:
        """Note how *thing* differs: what is there was declared with all that is found."""
        if not is_of_earlier_release(thing, self._found):
            self._differs(step, unlike(thing, self._found, self._said))
            return
        if self._found:
            self._denied.is_older(step, self._said)
        self._denied.is_as_wanted(step)

    def _differs(self, step: Step, known: Unlike) -> None:
        self._denied.differs(step, known)
        if known.is_left_out and isinstance(step.thing, Exchange):
            # Everything passes it: what goes on without it is lost.
            self._wrong = f"{known}; {known.way_out}"

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        if not self._connection.is_open:
            # Which queue was awaited is asked for now.
            return
        self._channel = None
        code, step, text = code_of(reason), self._todo[self._at], text_of(reason)
        if code == _DENIED:
            self._denied.learn(step)
            # Normal for programs with the least rights; where the object does not exist, that is an error of its own.
            log.debug("we may not declare this object", extra={"thing": str(step), "reason": text})
            self._open()
        elif step.queue and (is_down(code, text) or is_missing_queue(code, text)):
            self._down[step.queue] = text
            self._open()
        elif code == _UNLIKE and not isinstance(step.thing, Binding):
            self._compare(step, step.thing, text)
        else:
            self._done(Missing(f"{step}: {text}"))

    def _compare(self, step: Step, thing: Exchange | Queue, text: str) -> None:
        """Learn a difference from the broker's *text*, and ask for the next one."""
        if learn(text, thing, self._found):
            self._said = self._said or text
        else:
            self._differs(step, unlike(thing, (), text))
            self._next()
        if self._wrong:
            self._done(Missing(self._wrong))
        else:
            self._open()
