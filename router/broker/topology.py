"""Exchanges, queues and bindings, as data.  What each argument is for is told in ARCHITECTURE.md, section 6."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

INGRESS = "clusterbus.ingress"
EVENTS = "clusterbus.events"
HISTORY = "clusterbus.history"
RETRY = "clusterbus.retry"
RETURN = "clusterbus.return"
DEAD = "clusterbus.dead"
REJECTED = "clusterbus.rejected"
UNROUTED = "clusterbus.unrouted"

DELIVERIES = 20
"""A crashing consumer counts against its neighbours' messages too: hence 20, not 3."""

UNBOUNDED = 1_000_000
"""The default is none on RabbitMQ 3.10 and 20 on 4.x, and -1 drops on 3.10."""

RUNGS: Mapping[str, timedelta] = {
    "1s": timedelta(seconds=1),
    "5s": timedelta(seconds=5),
    "15s": timedelta(seconds=15),
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
}
"""The ladder of delays: one wait queue each, shared by all subscriptions."""

Argument = str | int | bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue; its kind is in `x-queue-type`."""

    name: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue, by pattern or by headers."""

    exchange: str
    queue: str
    key: str = ""
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topology:
    """What has to be there; *stale* bindings have to be gone."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()
    stale: tuple[Binding, ...] = ()

    def __add__(self, other: Topology) -> Topology:
        """Return both."""
        return Topology(
            self.exchanges + other.exchanges,
            self.queues + other.queues,
            self.bindings + other.bindings,
            self.stale + other.stale,
        )


def plan(topology: Topology) -> list[str]:
    """Return what declaring *topology* does, a line for each object, for people to read before it is done.

    >>> plan(Topology(exchanges=(Exchange("bus", "topic"),), bindings=(Binding("bus", "all", "#"),)))
    ['exchange bus: topic', 'binding bus to all: #']
    """
    return [
        *(f"exchange {each.name}: {each.kind}{_told(each.arguments, ', ')}" for each in topology.exchanges),
        *(f"queue {each.name}:{_told(each.arguments)}" for each in topology.queues),
        *(f"binding {_ends(each)}" for each in topology.bindings),
        *(f"no binding {_ends(each)}" for each in topology.stale),
    ]


def _ends(binding: Binding) -> str:
    return f"{binding.exchange} to {binding.queue}: {binding.key}{_told(binding.arguments, '')}"


def _told(arguments: Mapping[str, Argument], before: str = " ") -> str:
    text = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return f"{before}{text}" if text else ""


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
    """Return what is there whoever subscribes; *history_age* and *history_bytes* bound the stream."""
    unrouted = {"alternate-exchange": UNROUTED}
    parked = [DEAD, REJECTED, UNROUTED]
    history: dict[str, Argument] = {
        "x-queue-type": "stream",
        "x-max-age": f"{int(history_age.total_seconds())}s",
        "x-max-length-bytes": history_bytes,
        # Retention drops whole segments; with the default of 500 MB a quiet stream would keep everything.
        "x-stream-max-segment-size-bytes": 50_000_000,
    }
    rungs = [
        Queue(f"{RETRY}.{rung}", _quorum(RETURN, limit=UNBOUNDED, message_ttl=int(delay.total_seconds() * 1000)))
        for rung, delay in RUNGS.items()
    ]
    return Topology(
        exchanges=(
            *(Exchange(name, "fanout") for name in parked),
            Exchange(INGRESS, "topic", unrouted),
            Exchange(EVENTS, "topic", unrouted),
            Exchange(RETRY, "direct", unrouted),
            Exchange(RETURN, "headers", unrouted),
        ),
        queues=(
            *(Queue(name, _quorum(limit=UNBOUNDED)) for name in parked),
            Queue(INGRESS, _quorum(REJECTED, single_active_consumer=True)),
            Queue(HISTORY, history),
            *rungs,
        ),
        bindings=(
            *(Binding(name, name) for name in parked),
            Binding(INGRESS, INGRESS, "#"),
            Binding(EVENTS, HISTORY, "#"),
            *(Binding(RETRY, queue.name, rung) for rung, queue in zip(RUNGS, rungs, strict=True)),
        ),
    )


def queue_of(subscription: str) -> str:
    """Return the name of a subscription's queue.

    >>> queue_of("audit")
    'clusterbus.sub.audit'
    """
    return f"clusterbus.sub.{subscription}"


def subscription(name: str, patterns: Iterable[str], *, ordered: bool = False) -> Topology:
    """Return the queue of subscription *name*, bound to events by *patterns* and to its retries by its name.

    An *ordered* one has one active consumer at a time.
    """
    queue = Queue(queue_of(name), _quorum(DEAD, single_active_consumer=True) if ordered else _quorum(DEAD))
    returns = Binding(RETURN, queue.name, arguments={"x-match": "all", "subscription": name})
    return Topology(
        queues=(queue,), bindings=(*(Binding(EVENTS, queue.name, pattern) for pattern in patterns), returns)
    )
