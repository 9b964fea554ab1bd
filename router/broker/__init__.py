"""What both programs need of a broker, and the values that pass.

A `Broker` is one program's line to RabbitMQ, or to its stand-in in memory.  It outlives connections: what was
published stays with it until the broker has confirmed it, and is sent again, in order, over the next connection;
what arrived over a connection that is gone is dropped when acknowledged, since the broker delivers it again.

Everything here is called, and calls back, in the thread that is in `run()`; only `call()` may come from another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .topology import Topology

HeaderValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish: persistent and mandatory, always."""

    exchange: str
    key: str
    body: bytes
    id: str
    type: str = ""
    content_type: str = "application/cloudevents+json"
    headers: Mapping[str, HeaderValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """One message that the broker brought.  `user` was validated by the broker; `tag` is the broker line's own."""

    queue: str
    exchange: str
    key: str
    body: bytes
    id: str
    user: str | None
    headers: Mapping[str, object]
    redelivered: bool
    tag: object


class Settlement(Enum):
    """What became of a message that was published."""

    CONFIRMED = "all queues that it matched have it"
    UNROUTED = "no queue matched"
    REFUSED = "the broker will never take it"


class Broker(Protocol):
    """One program's line to the broker."""

    def declare(self, topology: Topology) -> None:
        """Have *topology* there before anything is consumed or published, now and after each reconnect."""

    def consume(
        self, queue: str, receive: Callable[[Arrival], None], *, prefetch: int, offset: str | None = None
    ) -> None:
        """Call *receive* for each message of *queue*, at most *prefetch* unsettled at once, again after reconnects.

        *offset* is for streams: `first`, `next`, `last` or an interval such as `1h`; their messages are read, never
        settled.
        """

    def cancel(self, queue: str) -> None:
        """Receive nothing more from *queue*; what has arrived may still be settled."""

    def publish(self, message: Message, settled: Callable[[Settlement], None]) -> None:
        """Publish *message*; *settled* is called exactly once, however many connections it takes."""

    def ack(self, arrival: Arrival) -> None:
        """Settle *arrival*: the broker may forget it."""

    def requeue(self, arrival: Arrival) -> None:
        """Give *arrival* back, to be delivered again."""

    def call(self, function: Callable[[], None]) -> None:
        """Have *function* called in the broker's thread; the only method that another thread may use."""

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        """Have *function* called after *delay*; returns a function that takes it back."""

    def when_idle(self, function: Callable[[], None]) -> None:
        """Have *function* called once when all that has been received so far is handed over: the end of a batch."""

    def run(self) -> None:
        """Work until `stop`.

        Raises Refused where the broker denies what we cannot do without.
        """

    def stop(self) -> None:
        """Leave `run` once what is to be sent has been sent (bounded), safe to call more than once."""
