"""Exchanges, queues and bindings, as data.  ARCHITECTURE.md, section 7, lists the arguments."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

INGRESS = "clusterbus.ingress"
EVENTS = "clusterbus.events"
"""The exchange that events are published to, and that services of others bind their queues to."""

OWN_EVENTS = "clusterbus.events.own"
"""The exchange of our own queues.  It gets what is published to `clusterbus.events`, and may be published to alone."""

FILTER = "clusterbus.events.filter"
"""The exchange that leads from `clusterbus.events` to our own queues, except for what is for the queues of others."""

FOR_OTHERS: Mapping[str, str] = {"only-for": "others"}
"""The header of an event at `clusterbus.events` that our own queues have already."""

PUBLISHED_AT = "published-at"
"""The header of an event that says when the router sent it: microseconds since 1970, in decimal digits.

A router whose metrics are on writes it, and the engine of alerts.  It is a text because pika takes long for numbers
beyond 32 bits.
"""

HISTORY = "clusterbus.history"
ALERTS = "clusterbus.alerts"
"""The queue of all events that open or close alerts; one consumer at a time reads it."""

SHARDS = "clusterbus.ingress.shards"
"""The exchange that gives each node's records to the one queue that its node is bound to."""

NEWCOMERS = "clusterbus.ingress.new"
"""The exchange of the records of nodes that are bound to no shard yet: they go to the queue `clusterbus.ingress`."""

SHARD_QUEUES = tuple(f"clusterbus.ingress.{number}" for number in range(1, 9))
QUARANTINE = "clusterbus.ingress.quarantine"
"""The queue of nodes that send more than their share."""

INGRESS_QUEUES = (INGRESS, *SHARD_QUEUES, QUARANTINE)
"""All queues that a router reads."""

RETRY = "clusterbus.retry"
RETURN = "clusterbus.return"
DEAD = "clusterbus.dead"
REJECTED = "clusterbus.rejected"
UNROUTED = "clusterbus.unrouted"

_SHARD_LIMITS = {"max_length": 10_000, "max_length_bytes": 128 * 2**20}
_QUARANTINE_LIMITS = {"max_length": 2000, "max_length_bytes": 2**19}
"""Beyond them the broker refuses what is published to the queue, and it waits in the spool of its node.

RabbitMQ counts the octets of bodies only.  Headers are at most as long as a frame, 128 KiB, so the number of messages
limits what a node can fill with them: 1.3 GB of disk in a shard, 0.3 GB in the quarantine, where so little waits that a
flood soon leaves the broker alone.
"""

DELIVERIES = 20
"""The delivery limit.  A crashing consumer also counts against the other messages it holds: hence 20, not 3."""

UNBOUNDED = 1_000_000
"""No delivery limit, in effect.  The default is no limit on RabbitMQ 3.10 and 20 on 4.x; -1 drops messages on 3.10."""

RETRY_STEPS: Mapping[str, timedelta] = {
    "1s": timedelta(seconds=1),
    "5s": timedelta(seconds=5),
    "15s": timedelta(seconds=15),
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
}
"""The delays of retries: each has one queue, shared by all subscriptions."""

Argument = str | int | bool

_ELSE_UNROUTED: Mapping[str, Argument] = {"alternate-exchange": UNROUTED}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue; the argument `x-queue-type` is its kind.

    A queue of an earlier release may lack the arguments that *may_lack* names.  It stays as it is: arguments of a queue
    cannot be changed.  Without those that it *needs*, what is published to it would be lost, or never come back.
    """

    name: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    may_lack: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def of_earlier_release(self) -> Queue:
        """Return it without the arguments that it may lack."""
        return Queue(self.name, {name: value for name, value in self.arguments.items() if name not in self.may_lack})


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of a queue to an exchange, by pattern or by headers.

    With *of_exchange*, *queue* is the name of an exchange, which gets the messages and routes them further.  *replaces*
    is the exchange that earlier releases bound the queue to: that binding is removed once this one exists, and made
    where this one is denied.
    """

    exchange: str
    queue: str
    key: str = ""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    of_exchange: bool = False
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """The objects to declare; *stale* bindings are removed."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()
    stale: tuple[Binding, ...] = ()

    def __add__(self, other: Topology) -> Topology:
        """Return a topology with the objects of both."""
        return Topology(
            self.exchanges + other.exchanges,
            self.queues + other.queues,
            self.bindings + other.bindings,
            self.stale + other.stale,
        )


def _quorum(dead: str | None = None, *, limit: int = DELIVERIES, **more: Argument) -> dict[str, Argument]:
    arguments: dict[str, Argument] = {"x-queue-type": "quorum", "x-delivery-limit": limit}
    if dead:
        arguments |= {
            "x-dead-letter-exchange": dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    return arguments | {f"x-{name.replace('_', '-')}": value for name, value in more.items()}


def base(*, history_age: timedelta = timedelta(days=30), history_bytes: int = 20_000_000_000) -> Topology:
    """Return the objects that do not depend on subscriptions; *history_age* and *history_bytes* limit the stream."""
    parked = [DEAD, REJECTED, UNROUTED]
    history: dict[str, Argument] = {
        "x-queue-type": "stream",
        "x-max-age": f"{int(history_age.total_seconds())}s",
        "x-max-length-bytes": history_bytes,
        # RabbitMQ deletes only complete segments; with the default of 500 MB, a quiet stream would keep everything.
        "x-stream-max-segment-size-bytes": 50_000_000,
    }
    return (
        Topology(
            exchanges=tuple(Exchange(name, "fanout") for name in parked),
            queues=tuple(Queue(name, _quorum(limit=UNBOUNDED)) for name in parked),
            bindings=tuple(Binding(name, name) for name in parked),
        )
        + _ingress()
        + event_exchanges()
        + Topology(queues=(Queue(HISTORY, history),), bindings=(event_binding(HISTORY, "#"),))
        # What a consumer was killed with is delivered for ever: an event less would leave an alert open.
        + Topology(queues=(Queue(ALERTS, _quorum(limit=UNBOUNDED, single_active_consumer=True)),))
        + _retries()
    )


def event_exchanges() -> Topology:
    """Return the exchanges of events; `clusterbus.events.own` is the last, so that where it exists, events reach it.

    The exchange of the filter has a binding that leads nowhere: back to `clusterbus.events`, which RabbitMQ does not
    visit twice.  What does not match it takes the alternate exchange.
    """
    return Topology(
        exchanges=(
            Exchange(EVENTS, "topic", _ELSE_UNROUTED),
            Exchange(FILTER, "headers", {"alternate-exchange": OWN_EVENTS}),
            Exchange(OWN_EVENTS, "topic", _ELSE_UNROUTED),
        ),
        bindings=(
            Binding(EVENTS, FILTER, "#", of_exchange=True),
            Binding(FILTER, EVENTS, "", {"x-match": "all", **FOR_OTHERS}, of_exchange=True),
        ),
    )


def event_binding(queue: str, pattern: str) -> Binding:
    """Return the binding by which *queue*, one of ours, gets the events that match *pattern*."""
    return Binding(OWN_EVENTS, queue, pattern, replaces=EVENTS)


def _ingress() -> Topology:
    return Topology(
        exchanges=(
            Exchange(NEWCOMERS, "fanout", _ELSE_UNROUTED),
            Exchange(SHARDS, "topic", {"alternate-exchange": NEWCOMERS}),
            Exchange(INGRESS, "topic", _ELSE_UNROUTED),
        ),
        queues=(
            _limited(INGRESS, _SHARD_LIMITS, "x-max-length", "x-max-length-bytes"),
            *(_limited(name, _SHARD_LIMITS, "x-max-length") for name in SHARD_QUEUES),
            _limited(QUARANTINE, _QUARANTINE_LIMITS, "x-max-length"),
        ),
        bindings=(
            Binding(NEWCOMERS, INGRESS),
            *(Binding(SHARDS, name, passed(name)) for name in (*SHARD_QUEUES, QUARANTINE)),
            Binding(INGRESS, SHARDS, "#", of_exchange=True),
        ),
        # Of releases before there were shards: every record would be in two queues.
        stale=(Binding(INGRESS, INGRESS, "#"),),
    )


def _limited(name: str, limits: Mapping[str, int], *new: str) -> Queue:
    arguments = _quorum(REJECTED, single_active_consumer=True, **limits)
    return Queue(name, arguments, may_lack=new)


def _retries() -> Topology:
    needs = ("x-dead-letter-exchange", "x-message-ttl")
    queues = [
        Queue(
            f"{RETRY}.{step}",
            _quorum(RETURN, limit=UNBOUNDED, message_ttl=int(delay.total_seconds() * 1000)),
            needs=needs,
        )
        for step, delay in RETRY_STEPS.items()
    ]
    return Topology(
        exchanges=(Exchange(RETRY, "direct", _ELSE_UNROUTED), Exchange(RETURN, "headers", _ELSE_UNROUTED)),
        queues=tuple(queues),
        bindings=tuple(Binding(RETRY, queue.name, step) for step, queue in zip(RETRY_STEPS, queues, strict=True)),
    )


def shard_of(node: str) -> str:
    """Return the queue of *node* while it keeps to its share.

    >>> shard_of("nsd01")
    'clusterbus.ingress.7'
    """
    return SHARD_QUEUES[zlib.crc32(node.encode()) % len(SHARD_QUEUES)]


def of_node(node: str, queue: str) -> Binding:
    """Return the binding that gives *queue* the records of *node*, a word that the broker checks at each publisher."""
    return Binding(SHARDS, queue, f"*.*.*.{node}")


def passed(queue: str) -> str:
    """Return the key that leads from `clusterbus.ingress.shards` to *queue* alone, whatever nodes are bound to it.

    >>> passed("clusterbus.ingress.1")
    'passed.1'
    """
    return f"passed.{queue.rpartition('.')[2]}"


def queue_of(subscription: str) -> str:
    """Return the name of a subscription's queue.

    >>> queue_of("audit")
    'clusterbus.sub.audit'
    """
    return f"clusterbus.sub.{subscription}"


def subscription(name: str, patterns: Iterable[str], *, ordered: bool = False) -> Topology:
    """Return the queue of subscription *name*, bound to events by *patterns*, and to its retries by its name.

    An *ordered* queue has one active consumer at a time.
    """
    queue = Queue(queue_of(name), _quorum(DEAD, single_active_consumer=True) if ordered else _quorum(DEAD))
    returns = Binding(RETURN, queue.name, arguments={"x-match": "all", "subscription": name})
    return Topology(queues=(queue,), bindings=(*(event_binding(queue.name, pattern) for pattern in patterns), returns))
