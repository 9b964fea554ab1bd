"""The interface between our programs and a broker, and the values that pass through it.

A `Broker` is one program's client for RabbitMQ, or for its stand-in in memory.  It outlives connections.  It keeps a
published message until the broker confirms it, and sends it again, in order, over the next connection.  It ignores the
acknowledgement of a message that arrived over a lost connection, because the broker delivers that message again.

All methods are called, and call back, in the thread that runs `run()`; only `call()` is for other threads.
"""

from __future__ import annotations

import math
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
    """One message to publish; always persistent and mandatory.

    Where a queue refuses it for now, it is sent again, before all later ones; unless *again* is False: then it is
    settled as refused, and holds nothing up.
    """

    exchange: str
    key: str
    body: bytes
    id: str
    type: str = ""
    content_type: str = "application/cloudevents+json"
    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    again: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """One message from the broker.  The broker has validated `user`; `tag` is for the `Broker` only."""

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
    """How the publishing of a message ended."""

    CONFIRMED = "all queues that it matched have it"
    UNROUTED = "no queue matched"
    REFUSED = "the broker will never take it, or a queue refuses what is not sent again"


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """Whether a program works over a connection to *broker*, the one that was tried last, and if not, why.

    *problem* says why there is none, *blocked* why the broker accepts no messages, in its own words, *unread* names the
    queues that it does not let us consume, and *down* other queues that it cannot reach; *unlike* says of each queue
    and exchange that cannot be used what differs from what we declare.  All are empty where all is well.  *differing*
    says the same of those that are used as they are.  *is_settled* is False while the first attempt to connect, or to
    consume, has not ended.
    """

    broker: str
    problem: str = ""
    blocked: str = ""
    unread: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    is_settled: bool = True


class Broker(Protocol):
    """One program's client for a broker."""

    @property
    def connection(self) -> ConnectionState:
        """The state of the connection now."""

    @property
    def refusals(self) -> int:
        """How many events queues of others have refused since they began to; 0 if they refuse none."""

    def declare(self, topology: Topology) -> None:
        """Declare *topology* before anything is consumed or published, now and after each reconnect."""

    def consume(
        self, queue: str, receive: Callable[[Arrival], None], *, prefetch: int, offset: str | int | None = None
    ) -> None:
        """Call *receive* for each message of *queue*, also after reconnects; at most *prefetch* are unsettled at once.

        *offset* is for streams: `first`, `next`, `last`, an interval such as `1h`, or the number of a message.
        Messages of a stream are only read, never settled.
        """

    def cancel(self, queue: str) -> None:
        """Stop receiving from *queue*; messages that have arrived may still be settled."""

    def publish(self, message: Message, settled: Callable[[Settlement], None]) -> None:
        """Publish *message*; *settled* is called exactly once, regardless of lost connections."""

    def ack(self, arrival: Arrival) -> None:
        """Settle *arrival*: the broker may forget it."""

    def requeue(self, arrival: Arrival) -> None:
        """Return *arrival* to its queue; the broker delivers it again."""

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* in the broker's thread; the only method that another thread may use."""

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        """Call *function* after *delay*; returns a function that cancels the call."""

    def when_idle(self, function: Callable[[], None]) -> None:
        """Call *function* once when all messages received so far are handed over: at the end of a batch."""

    def run(self) -> None:
        """Work until `stop`.

        Raises Refused if the broker denies something that we cannot do without.
        """

    def stop(self) -> None:
        """Leave `run` when all messages are confirmed, or after a limit; may be called more than once."""


def clean(headers: Mapping[str, object]) -> dict[str, HeaderValue]:
    """Return those of *headers* that may be published again: not the broker's own, nor those that would route copies.

    >>> clean({"traceparent": "00-a-b-01", "x-death": [], "x-delivery-count": 2, "CC": ["a"], "at": 1.5})
    {'traceparent': '00-a-b-01'}
    """
    return {
        name: value
        for name, value in headers.items()
        if isinstance(value, str | int | bool) and name not in {"CC", "BCC"} and not name.lower().startswith("x-")
    }


def history_offset(back: timedelta) -> str:
    """Return where a reader of a stream begins that wants what arrived in the time *back*; AMQP takes whole seconds.

    >>> history_offset(timedelta(hours=2)), history_offset(timedelta(seconds=0.2)), history_offset(timedelta())
    ('7200s', '1s', '1s')
    """
    return f"{max(1, math.ceil(back.total_seconds()))}s"
