"""To have a topology there, over one connection: one object after another, each as its owner or as a guest.

Who may not declare an object (403) asks whether it is there, which needs no right; bindings can't be asked for and are
trusted.  So a program with the least rights starts on a broker that somebody else has set up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import BrokerError, Refused
from .amqp import Channel, Connection, code_of, text_of
from .topology import Binding, Exchange, Queue, Topology

log = logging.getLogger(__name__)

_DENIED, _UNLIKE = 403, 406


class Missing(BrokerError):
    """Something is not there, or could not be declared now: trying again may help."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to declare, to bind, or to unbind."""

    thing: Exchange | Queue | Binding
    gone: bool = False

    def __str__(self) -> str:
        """Return it as it is told to people."""
        match self.thing:
            case Exchange(name):
                return f"exchange {name}"
            case Queue(name):
                return f"queue {name}"
            case Binding(exchange, queue, key):
                return f"{'no ' if self.gone else ''}binding of {queue} to {exchange} by {key or 'headers'!r}"


def steps(topology: Topology) -> list[Step]:
    """Return what to do for *topology*, in order: a binding comes after its ends."""
    things: tuple[Exchange | Queue | Binding, ...] = (*topology.exchanges, *topology.queues, *topology.bindings)
    return [*(Step(thing) for thing in things), *(Step(binding, gone=True) for binding in topology.stale)]


class Declaring:
    """One round of declaring; ends in exactly one call of *done*, unless the connection is lost first."""

    def __init__(
        self,
        connection: Connection,
        todo: Iterable[Step],
        denied: set[str],
        done: Callable[[BrokerError | None], None],
    ) -> None:
        """Declare *todo* over *connection*; *denied* names what we may not declare and learns.

        *done* gets None, or Refused where something is there but unlike ours, or Missing.
        """
        self._connection, self._todo, self._denied, self._done = connection, list(todo), denied, done
        self._at = 0
        self._channel: Channel | None = None
        self._open()

    def _open(self) -> None:
        self._channel = self._connection.channel(on_open_callback=self._ask)
        self._channel.add_on_close_callback(self._closed)

    def _ask(self, channel: Channel) -> None:
        while self._at < len(self._todo):
            step = self._todo[self._at]
            denied = str(step) in self._denied
            if denied and isinstance(step.thing, Binding):
                self._at += 1
                continue
            self._send(channel, step, passive=denied)
            return
        self._channel = None
        channel.close()
        self._done(None)

    def _send(self, channel: Channel, step: Step, *, passive: bool) -> None:
        match step.thing:
            case Exchange(name, kind, arguments) if passive:
                channel.exchange_declare(name, kind, passive=True, callback=self._answered)
            case Exchange(name, kind, arguments):
                channel.exchange_declare(name, kind, durable=True, arguments=dict(arguments), callback=self._answered)
            case Queue(name) if passive:
                channel.queue_declare(name, passive=True, callback=self._answered)
            case Queue(name, arguments):
                channel.queue_declare(name, durable=True, arguments=dict(arguments), callback=self._answered)
            case Binding(exchange, queue, key, arguments):
                tie = channel.queue_unbind if step.gone else channel.queue_bind
                tie(queue, exchange, key, dict(arguments), self._answered)

    def _answered(self, _frame: object) -> None:
        if self._channel is not None:
            self._at += 1
            self._ask(self._channel)

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        code, step = code_of(reason), self._todo[self._at]
        if not self._connection.is_open:
            return
        if code == _DENIED and str(step) not in self._denied:
            self._denied.add(str(step))
            log.info("not ours to declare", extra={"thing": str(step), "reason": text_of(reason)})
            self._open()
        elif code == _UNLIKE:
            self._done(Refused(_unlike(step, text_of(reason))))
        else:
            self._done(Missing(f"{step}: {text_of(reason)}"))


def _unlike(step: Step, text: str) -> str:
    return (
        f"{step} is there but is not what this version declares: {text}. Arguments can't be changed: drain and delete"
        f" it, then run `clusterbus broker setup`, or set what it was made with in the settings"
    )
