"""Declares a topology over one connection: one object after another, actively or passively.

If we may not declare an object (403), we ask passively whether it exists.  Before 4.2.6, RabbitMQ answers all users;
from then on only users with a right to the object; 4.2.6 and 4.3.0 only users who may declare it.  Without an answer we
assume that the object exists.  We assume that of bindings too, which AMQP cannot query.  So a program with the least
rights can start on a broker that somebody else has set up.

A queue that exists, but that the broker cannot reach, holds up nothing but itself: all else is declared, and then the
round ends with QueuesDown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from ...errors import BrokerError, QueuesDown, Refused
from ..topology import Binding, Exchange, Queue, Topology
from .pika_types import Channel, Connection, code_of, is_down, text_of

log = logging.getLogger(__name__)

_DENIED, _UNLIKE = 403, 406


class Missing(BrokerError):
    """An object is missing or could not be declared now: trying again may help."""


@dataclass(slots=True)
class Denials:
    """The names of steps that the broker denies: what we may not *declare*, and what we may not even *ask* for.

    *older* are those of queues that an earlier release has declared with fewer arguments.
    """

    declare: set[str] = field(default_factory=set)
    ask: set[str] = field(default_factory=set)
    older: set[str] = field(default_factory=set)

    def learn(self, step: Step) -> None:
        """Note that *step* was denied: the first time as a declaration, the second time as a question."""
        first = str(step) not in self.declare and not isinstance(step.thing, Binding)
        (self.declare if first else self.ask).add(str(step))


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to declare, to bind, or to unbind.

    With *after*, it removes a binding that the binding *after* replaces; where that one is denied, it makes it instead.
    """

    thing: Exchange | Queue | Binding
    gone: bool = False
    after: str = ""

    @property
    def queue(self) -> str:
        """The queue that it is about; empty if it is only about exchanges."""
        match self.thing:
            case Queue(name):
                return name
            case Binding(queue=queue, of_exchange=False):
                return queue
        return ""

    def __str__(self) -> str:
        """Return the step in words, for people."""
        match self.thing:
            case Exchange(name):
                return f"exchange {name}"
            case Queue(name):
                return f"queue {name}"
            case Binding(exchange, queue, key):
                return f"{'no ' if self.gone else ''}binding of {queue} to {exchange} by {key or 'headers'!r}"


def steps(topology: Topology) -> list[Step]:
    """Return the steps for *topology*, in order: a binding comes after what it binds.

    A binding of an exchange comes at once after the later of its exchanges, so that an exchange that is declared after
    those exists only where they are bound.
    """
    found: list[Step] = []
    between = [each for each in topology.bindings if each.of_exchange]
    there: set[str] = set()
    for exchange in topology.exchanges:
        found.append(Step(exchange))
        there.add(exchange.name)
        ready = [each for each in between if {each.exchange, each.queue} <= there]
        found += map(Step, ready)
        between = [each for each in between if each not in ready]
    things: tuple[Queue | Binding, ...] = (
        *topology.queues,
        *between,
        *(each for each in topology.bindings if not each.of_exchange),
    )
    for thing in things:
        found.append(Step(thing))
        if isinstance(thing, Binding) and thing.replaces:
            found.append(Step(_replaced(thing), gone=True, after=str(found[-1])))
    for stale in topology.stale:
        found.append(Step(stale, gone=True))
        if stale.replaces:
            found.append(Step(_replaced(stale), gone=True))
    return found


def _replaced(binding: Binding) -> Binding:
    return replace(binding, exchange=binding.replaces, replaces="")


class Declaring:
    """One round of declarations; ends with exactly one call of *done*, unless the connection is lost first."""

    def __init__(
        self, connection: Connection, todo: Iterable[Step], denied: Denials, done: Callable[[BrokerError | None], None]
    ) -> None:
        """Take the steps *todo* over *connection*; *denied* keeps what we may not declare, and is updated.

        *done* gets None; or Refused, if an existing object differs from ours; or Missing, or QueuesDown.
        """
        self._connection, self._todo, self._denied, self._done = connection, list(todo), denied, done
        self._down: dict[str, str] = {}
        self._at = 0
        self._channel: Channel | None = None
        self._open()

    def _open(self) -> None:
        self._channel = self._connection.channel(on_open_callback=self._ask)
        self._channel.add_on_close_callback(self._closed)

    def _ask(self, channel: Channel) -> None:
        while self._at < len(self._todo):
            step = self._todo[self._at]
            if step.after in self._denied.ask:
                step = self._todo[self._at] = replace(step, gone=False, after="")
            if str(step) in self._denied.ask or step.queue in self._down:
                self._at += 1
                continue
            self._send(channel, step, passive=str(step) in self._denied.declare)
            return
        self._channel = None
        channel.close()
        self._done(QueuesDown(self._down) if self._down else None)

    def _send(self, channel: Channel, step: Step, *, passive: bool) -> None:
        match step.thing:
            case Exchange(name, kind, arguments) if passive:
                channel.exchange_declare(name, kind, passive=True, callback=self._answered)
            case Exchange(name, kind, arguments):
                channel.exchange_declare(name, kind, durable=True, arguments=dict(arguments), callback=self._answered)
            case Queue(name) if passive:
                channel.queue_declare(name, passive=True, callback=self._answered)
            case Queue(name) as queue:
                arguments = (queue.of_earlier_release() if str(step) in self._denied.older else queue).arguments
                channel.queue_declare(name, durable=True, arguments=dict(arguments), callback=self._answered)
            case Binding(exchange, queue, key, arguments, of_exchange):
                kind = "exchange" if of_exchange else "queue"
                tie = getattr(channel, f"{kind}_unbind" if step.gone else f"{kind}_bind")
                tie(queue, exchange, key, dict(arguments), self._answered)

    def _answered(self, _frame: object) -> None:
        if self._channel is not None:
            self._at += 1
            self._ask(self._channel)

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        code, step, text = code_of(reason), self._todo[self._at], text_of(reason)
        if not self._connection.is_open:
            return
        if code == _DENIED:
            self._denied.learn(step)
            # Normal for programs with the least rights; where the object does not exist, that is an error of its own.
            log.debug("we may not declare this object", extra={"thing": str(step), "reason": text})
            self._open()
        elif step.queue and is_down(code, text):
            self._down[step.queue] = text
            self._open()
        elif code == _UNLIKE and self._may_be_older(step):
            self._denied.older.add(str(step))
            log.warning(
                "a queue of an earlier release lacks limits; to get them, stop all routers, delete it once it is empty,"
                " and run clusterbus broker setup",
                extra={"queue": step.queue, "reason": text},
            )
            self._open()
        elif code == _UNLIKE:
            self._done(Refused(_unlike(step, text)))
        else:
            self._done(Missing(f"{step}: {text}"))

    def _may_be_older(self, step: Step) -> bool:
        return isinstance(step.thing, Queue) and bool(step.thing.may_lack) and str(step) not in self._denied.older


def _unlike(step: Step, text: str) -> str:
    return (
        f"{step} exists, but differs from what this version declares: {text}. Its arguments cannot be changed: either"
        f" drain and delete it, then run `clusterbus broker setup`, or set its existing values in the settings"
    )
