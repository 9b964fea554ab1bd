"""What RabbitMQ does with exchanges and queues, as far as we use it, in plain values.  No connections, no waiting.

The clock only moves when it is told to.  Where versions of RabbitMQ differ it follows 4.x.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from router.broker.differences import Difference, Unlike, is_of_earlier_release, unlike
from router.broker.topology import Binding, Exchange, Queue, Topology
from router.errors import BrokerError, Refused
from router.model.topics import matches

_UNITS = {"Y": 31536000, "M": 2592000, "D": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(slots=True)
class Stored:
    """One message in one queue."""

    exchange: str
    key: str
    body: bytes
    id: str
    user: str | None
    headers: dict[str, object]
    since: timedelta = timedelta()
    returned: int = 0
    content_type: str = ""


@dataclass(slots=True, eq=False)
class Subscriber:
    """Somebody who consumes a queue: *take* gets each message, at most *prefetch* are unsettled."""

    queue: str
    take: Callable[[int, Stored], None]
    prefetch: int
    position: int = 0
    number: int = 0
    unsettled: dict[int, Stored] = field(default_factory=dict)


@dataclass(slots=True)
class Held:
    """One queue, what is in it, and who consumes it."""

    queue: Queue
    ready: deque[Stored] = field(default_factory=deque)
    subscribers: list[Subscriber] = field(default_factory=list)
    is_stream: bool = field(init=False)
    """Whether messages are read, not taken."""
    limit: int = field(init=False)
    """How often a message may come back before it is given up."""
    patience: timedelta | None = field(init=False)
    """How long a message waits before it is given up."""
    is_single: bool = field(init=False)
    """Whether only the first who consumes gets messages, the others stand by."""

    def __post_init__(self) -> None:
        """Read the arguments once: a test that lets hours pass asks for them a million times."""
        arguments = self.queue.arguments
        self.is_stream = arguments.get("x-queue-type") == "stream"
        self.limit = int(arguments.get("x-delivery-limit", 20))
        ttl = arguments.get("x-message-ttl")
        self.patience = None if ttl is None else timedelta(milliseconds=int(ttl))
        self.is_single = bool(arguments.get("x-single-active-consumer"))

    @property
    def active(self) -> list[Subscriber]:
        """Who gets messages."""
        return self.subscribers[:1] if self.is_single else self.subscribers


class Model:
    """Exchanges, queues, bindings and a clock."""

    def __init__(self) -> None:
        """Begin with nothing, at time nought."""
        self.now = timedelta()
        self._exchanges: dict[str, Exchange] = {}
        self._queues: dict[str, Held] = {}
        self._bindings: list[Binding] = []
        self.unlike: dict[str, Unlike] = {}
        """What differs from what was declared last."""

    def declare(self, topology: Topology) -> None:
        """Have *topology* there; raises Refused where an exchange is of another type: the real client waits for it."""
        for exchange in topology.exchanges:
            known = self._exchanges.setdefault(exchange.name, exchange)
            if known.kind != exchange.kind:
                raise Refused(f"exchange {exchange.name} exists, but differs from what this version declares")
        for queue in topology.queues:
            self._compare(self._queues.setdefault(queue.name, Held(queue)).queue, queue)
        for binding in topology.bindings:
            self._known(binding)
            left_out = self.unlike.get(binding.queue)
            if not (left_out and left_out.is_left_out) and not any(_same(binding, each) for each in self._bindings):
                self._bindings.append(binding)
            self._unbind(replace(binding, exchange=binding.replaces))
        for stale in topology.stale:
            self._unbind(stale)
            self._unbind(replace(stale, exchange=stale.replaces))

    def _compare(self, known: Queue, wanted: Queue) -> None:
        there, ours = dict(known.arguments), dict(wanted.arguments)
        found = [
            Difference(key, ours.get(key), there.get(key))
            for key in {**ours, **there}
            if ours.get(key) != there.get(key)
        ]
        self.unlike.pop(wanted.name, None)
        if not is_of_earlier_release(wanted, found):
            self.unlike[wanted.name] = unlike(wanted, found, "")

    def _unbind(self, binding: Binding) -> None:
        self._bindings = [each for each in self._bindings if not _same(binding, each)]

    def _known(self, binding: Binding) -> None:
        ends: Collection[str] = self._exchanges if binding.of_exchange else self._queues
        if binding.exchange not in self._exchanges or binding.queue not in ends:
            raise BrokerError(f"binding of {binding.queue} to {binding.exchange}: one of them is not there")

    def queue(self, name: str) -> Held:
        """Return queue *name*; raises BrokerError where there is none."""
        if name not in self._queues:
            raise BrokerError(f"queue {name!r} is not there")
        return self._queues[name]

    def delete(self, name: str) -> list[Subscriber]:
        """Delete queue *name* and its bindings; return who consumed it."""
        self._bindings = [each for each in self._bindings if each.queue != name]
        return self._queues.pop(name).subscribers

    def bindings(self, queue: str) -> list[Binding]:
        """Return what is bound to *queue*."""
        return [each for each in self._bindings if each.queue == queue]

    def publish(self, message: Stored) -> bool:
        """Put *message* into all queues that it matches; False where there are none.

        Raises BrokerError where its exchange is not there.
        """
        if message.exchange and message.exchange not in self._exchanges:
            raise BrokerError(f"exchange {message.exchange!r} is not there")
        names = dict.fromkeys(self._route(message.exchange, message, set()))
        for name in names:
            held = self._queues[name]
            held.ready.append(replace(message, headers=dict(message.headers), since=self.now, returned=0))
        return bool(names)

    def _route(self, exchange: str, message: Stored, visited: set[str]) -> Iterator[str]:
        if exchange in visited:
            return
        visited.add(exchange)
        if not exchange:
            yield from [message.key] if message.key in self._queues else []
            return
        known = self._exchanges.get(exchange)
        if known is None:
            return
        found = [each for each in self._bindings if each.exchange == exchange and _takes(known, each, message)]
        alternate = known.arguments.get("alternate-exchange")
        for each in found:
            yield from self._route(each.queue, message, visited) if each.of_exchange else [each.queue]
        if not found and isinstance(alternate, str):
            yield from self._route(alternate, message, visited)

    def deliver(self) -> bool:
        """Hand out what may be handed out now; say whether there was anything."""
        every = list(self._queues.values())
        return any([self._deliver(held) for held in every if held.ready and held.subscribers])  # noqa: C419 - every one

    def _deliver(self, held: Held) -> bool:
        something = False
        for subscriber in list(held.active) if held.is_stream else []:
            while subscriber.position < len(held.ready) and subscriber in held.subscribers:
                message = held.ready[subscriber.position]
                at, subscriber.position = subscriber.position, subscriber.position + 1
                subscriber.take(0, replace(message, headers={**message.headers, "x-stream-offset": at}))
                something = True
        while not held.is_stream and held.ready:
            free = [each for each in held.active if len(each.unsettled) < each.prefetch]
            if not free:
                break
            subscriber = free[0]
            if not held.is_single:
                # In turns: who got the last is the last to get the next.
                held.subscribers.remove(subscriber)
                held.subscribers.append(subscriber)
            message = held.ready.popleft()
            subscriber.number += 1
            subscriber.unsettled[subscriber.number] = message
            counted = {**message.headers, "x-delivery-count": message.returned} if message.returned else message.headers
            subscriber.take(subscriber.number, replace(message, headers=dict(counted)))
            something = True
        return something

    def subscribe(self, subscriber: Subscriber, offset: str | int | None = None) -> None:
        """Let *subscriber* have its queue's messages; *offset* is for streams."""
        held = self.queue(subscriber.queue)
        if held.is_stream:
            subscriber.position = self._position(held, offset)
        held.subscribers.append(subscriber)

    def _position(self, held: Held, offset: str | int | None) -> int:
        size = len(held.ready)
        if isinstance(offset, int):
            return offset
        if offset in ("first", "last", "next", None):
            return {"first": 0, "last": max(0, size - 1)}.get(offset or "next", size)
        read = re.fullmatch(r"(\d+)([YMDhms])", str(offset))
        if not read:
            raise BrokerError(f"offset {offset!r} is not first, last, next or an interval such as 1h")
        since = self.now - timedelta(seconds=int(read[1]) * _UNITS[read[2]])
        return sum(message.since < since for message in held.ready)

    def unsubscribe(self, subscriber: Subscriber, *, lost: bool) -> None:
        """Give *subscriber* nothing more; *lost* means that its connection is gone: what it had comes back."""
        held = self._queues.get(subscriber.queue)
        if held is None:
            return
        if subscriber in held.subscribers:
            held.subscribers.remove(subscriber)
        if lost:
            for number in sorted(subscriber.unsettled):
                self.requeue(subscriber, number)

    def ack(self, subscriber: Subscriber, number: int) -> None:
        """Forget a message; nothing happens where it was settled before."""
        subscriber.unsettled.pop(number, None)

    def requeue(self, subscriber: Subscriber, number: int) -> None:
        """Put a message back before those that never came, or where it came back too often, to the dead letters."""
        message = subscriber.unsettled.pop(number, None)
        held = self._queues.get(subscriber.queue)
        if message is None or held is None:
            return
        message.returned += 1
        if message.returned > held.limit:
            self._give_up(held, message, "delivery_limit")
        else:
            # What came back stands before all others, in the order in which it came back.
            before = next((at for at, each in enumerate(held.ready) if not each.returned), len(held.ready))
            held.ready.insert(before, message)

    def expire(self) -> None:
        """Give up what has waited too long."""
        for held in list(self._queues.values()):
            while held.ready and held.patience is not None and held.ready[0].since + held.patience <= self.now:
                self._give_up(held, held.ready.popleft(), "expired")

    @property
    def next_expiry(self) -> timedelta | None:
        """When `expire` has something to do next."""
        due = [held.ready[0].since + held.patience for held in self._queues.values() if held.ready and held.patience]
        return min(due, default=None)

    def _give_up(self, held: Held, message: Stored, reason: str) -> None:
        exchange = held.queue.arguments.get("x-dead-letter-exchange")
        if not isinstance(exchange, str):
            return
        key = str(held.queue.arguments.get("x-dead-letter-routing-key", message.key))
        first = {f"x-first-death-{name}": value for name, value in (("queue", held.queue.name), ("reason", reason))}
        self.publish(replace(message, exchange=exchange, key=key, headers={**first, **message.headers}))


def _same(one: Binding, other: Binding) -> bool:
    return (one.exchange, one.queue, one.key, dict(one.arguments)) == (
        other.exchange,
        other.queue,
        other.key,
        dict(other.arguments),
    )


def _takes(exchange: Exchange, binding: Binding, message: Stored) -> bool:
    match exchange.kind:
        case "topic":
            return matches(binding.key, message.key)
        case "direct":
            return binding.key == message.key
        case "headers":
            return _headers_match(binding.arguments, message.headers)
        case _:
            return True


def _headers_match(wanted: Mapping[str, object], headers: Mapping[str, object]) -> bool:
    found = [headers.get(name) == value for name, value in wanted.items() if not name.startswith("x-")]
    return any(found) if wanted.get("x-match") == "any" else all(found)
