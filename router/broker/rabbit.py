"""RabbitMQ: one program's line to it, over two connections, one to publish and one to consume.

Two, since a broker that is short of disk or memory stops reading from a connection that publishes, and the
acknowledgements must not stop with it.  Both live on one loop, in the thread that is in `run`.
"""

from __future__ import annotations

import logging
import random
import struct
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.credentials import ExternalCredentials
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from ..errors import SettingsError, Unreachable
from . import Arrival, Message
from .addresses import Address, Pauses, Turns, parse, tls_context
from .asking import Questions
from .consuming import Consumer, Receive
from .declaring import steps
from .lines import Line, end_all
from .loops import Loop
from .outbox import Outbox, Settled
from .publishing import Publisher
from .topology import Topology

log = logging.getLogger(__name__)

_HEARTBEAT = 15
_UNSENT = timedelta(seconds=20)
"""What was written to a socket and not taken by the peer's kernel for so long breaks the connection."""

_CONNECT_LIMIT = 10
_GOODBYE = timedelta(seconds=1)
"""So long the broker may take to answer that we go; then we are gone."""

_FIRST_PAUSE = timedelta(milliseconds=500)
_LONGEST_PAUSE = timedelta(seconds=10)
_DENIED = (AuthenticationError, ProbableAuthenticationError, ProbableAccessDeniedError)
_UNSENDABLE = (AMQPError, struct.error, ValueError, TypeError, AttributeError)
"""What pika raises for a message that no frame can hold: a key over 255 octets, a header of a foreign type."""


class _Connection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that properties made to break pika's decoder don't break.

    Such are a timestamp past the year 9999 or tables nested a thousand deep: whoever may publish could cut off
    everyone who consumes, for as long as the message is there.  It arrives without its properties instead, hence
    without a user, and is rejected for that.
    """

    _dropped = False

    def _read_frame(self) -> tuple[int, Any]:
        try:
            taken: tuple[int, Any] = super()._read_frame()
        except (ValueError, OverflowError, OSError, ArithmeticError, RecursionError, struct.error, AMQPError) as error:
            kind, channel, size = struct.unpack_from(">BHL", self._frame_buffer)
            if kind != pika.spec.FRAME_HEADER:
                raise
            body = struct.unpack_from(">Q", self._frame_buffer, 11)[0]
            facts = {"undecodable": f"{type(error).__name__}: {error}"[:200]}
            properties = pika.BasicProperties(headers=facts)
            return 7 + size + 1, pika.frame.Header(channel, body, properties)
        return taken

    def drop(self, reason: str) -> None:
        """Break it without asking the broker's leave: it may never answer."""
        if not self.is_closed and not self._dropped:
            # pika has no public way to close a connection whose peer is silent.  Its own word for that,
            # ConnectionOpenAborted, makes it fail an assertion of its own where the connection is not open yet.
            self._dropped = True
            self._terminate_stream(AMQPConnectionError(reason))


class Rabbit:
    """A `Broker` that is RabbitMQ.  It runs once: what is done after `run` returned has no effect."""

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        name: str,
        progress_limit: timedelta = timedelta(seconds=30),
        window: int = 500,
        longest_pause: timedelta = _LONGEST_PAUSE,
        give_up: timedelta | None = None,
        flush_limit: timedelta = timedelta(seconds=5),
    ) -> None:
        """Speak to one of the brokers at *urls*, whichever answers, as the program *name*.

        With *give_up* set, `run` raises Unreachable when there was no connection for so long from the start, and
        Refused for what only an operator can mend; without, it goes on trying.  *flush_limit* bounds `stop`.

        `questions` asks about queues.  Raises SettingsError.
        """
        addresses = [parse(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not addresses:
            raise SettingsError("no broker is given: set at least one URL such as amqp://USER@HOST/")
        self._parameters = {address: _parameters(address, name) for address in addresses}
        self._give_up, self._flush_limit = give_up, flush_limit
        self._ioloop = IOLoop()
        self._loop = Loop(self._ioloop)
        self._stopping = self._started = False
        self.questions = Questions(self._loop.fail)
        chance = random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._pauses = partial(Pauses, _FIRST_PAUSE, longest_pause, chance, each=len(addresses))
        self._shared: dict[str, Any] = {
            "later": self._loop.later,
            "failed": self._loop.fail,
            "impatient": give_up is not None,
        }
        self._publisher, self._consumer = self._make_work(Outbox(window), progress_limit)
        self._publishing, self._consuming = self._make_lines(Turns(addresses, chance), progress_limit)

    def _make_work(self, outbox: Outbox, progress_limit: timedelta) -> tuple[Publisher, Consumer]:
        publisher = Publisher(
            outbox,
            properties=self._properties,
            unsendable=_UNSENDABLE,
            pauses=self._pauses(),
            # The lines are made after their work: hence not the methods themselves.
            redeclare=lambda: self._publishing.redeclare(),  # noqa: PLW0108 - see above
            drop=lambda reason: self._publishing.drop(reason),  # noqa: PLW0108 - see above
            progress_limit=progress_limit,
            **self._shared,
        )
        consumer = Consumer(
            pauses=self._pauses(),
            at_end=lambda: self._loop.when_idle(consumer.flush),
            redeclare=lambda: self._consuming.redeclare(),  # noqa: PLW0108 - see above
            **self._shared,
        )
        return publisher, consumer

    def _make_lines(self, turns: Turns, progress_limit: timedelta) -> tuple[Line, Line]:
        line: Callable[..., Line] = partial(
            Line,
            turns=turns,
            connect=self._connect,
            is_denial=_is_denial,
            denied=set(),
            limit=progress_limit,
            **self._shared,
        )
        publishing = line("publish", self._publisher, then=self.questions.over, pauses=self._pauses())
        return publishing, line("consume", self._consumer, pauses=self._pauses())

    def declare(self, topology: Topology) -> None:
        """Have *topology* there before anything is consumed or published, now and after each reconnect."""
        todo = steps(topology)
        self._publishing.declare(todo)
        self._consuming.declare(todo)

    def consume(self, queue: str, receive: Receive, *, prefetch: int, offset: str | None = None) -> None:
        """Call *receive* for each message of *queue*; a stream goes on after the last message over each reconnect."""
        self._consumer.consume(queue, receive, prefetch, offset)
        if self._started:
            self._consuming.start()

    def cancel(self, queue: str) -> None:
        """Receive nothing more from *queue*; what has arrived may still be settled."""
        self._consumer.cancel(queue)

    def publish(self, message: Message, settled: Settled) -> None:
        """Publish *message*; *settled* is called exactly once."""
        self._publisher.publish(message, settled)

    def ack(self, arrival: Arrival) -> None:
        """Settle *arrival*; the broker is told at the end of the batch."""
        self._consumer.ack(arrival)

    def requeue(self, arrival: Arrival) -> None:
        """Give *arrival* back; each time counts towards the queue's delivery limit."""
        self._consumer.requeue(arrival)

    def call(self, function: Callable[[], None]) -> None:
        """Have *function* called in the thread of `run`; for other threads and signal handlers: it takes no lock."""
        self._loop.call(function)

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        """Have *function* called after *delay*; returns a function that takes it back."""
        return self._loop.later(delay, function)

    def when_idle(self, function: Callable[[], None]) -> None:
        """Have *function* called once when all that has been received so far is handed over."""
        self._loop.when_idle(function)

    def run(self) -> None:
        """Work until `stop`; raises what a function of ours that it called has raised."""
        self._started = True
        self._publisher.start()
        if not self._stopping:
            self._publishing.start()
        if len(self._consumer):
            self._consuming.start()
        if self._give_up is not None:
            self.later(self._give_up, self._check_reached)
        self._loop.run(lambda: self._end(at_once=True))

    def stop(self) -> None:
        """Cancel all consumers, wait for what was published to be confirmed (bounded), close, and leave `run`."""
        if self._stopping:
            return
        self._stopping = True
        self._consumer.cancel_all()
        deadline = time.monotonic() + self._flush_limit.total_seconds()

        def look() -> None:
            if self._publisher.unsettled and time.monotonic() < deadline:
                self.later(timedelta(milliseconds=5), look)
                return
            if self._publisher.unsettled:
                log.warning("stopped before all was confirmed", extra={"unsettled": self._publisher.unsettled})
            self._consumer.flush()
            self._end(at_once=False)

        self.when_idle(look)

    # Below: our own.

    def _connect(self, address: Address, callbacks: dict[str, Callable[..., None]]) -> _Connection:
        return _Connection(self._parameters[address], custom_ioloop=self._ioloop, **callbacks)

    def _properties(self, message: Message) -> pika.BasicProperties:
        address = self._publishing.address
        return pika.BasicProperties(
            content_type=message.content_type,
            headers=dict(message.headers) or None,
            delivery_mode=2,
            message_id=message.id,
            timestamp=int(time.time()),
            type=message.type or None,
            user_id=address.user if address else None,
        )

    def _end(self, *, at_once: bool) -> None:
        end_all((self._publishing, self._consuming), self._loop.stop, at_once=at_once)
        self.later(_GOODBYE, self._loop.stop if at_once else lambda: self._end(at_once=True))

    def _check_reached(self) -> None:
        if not self._publishing.was_ready:
            self._loop.fail(Unreachable(f"no connection to {self._publishing.address}: {self._publishing.reason}"))


def _is_denial(error: BaseException) -> bool:
    # pika takes any connection that is lost at this moment for a denial; only the broker's own word counts.
    return isinstance(error, _DENIED) and "StreamLostError" not in str(error)


def _parameters(address: Address, name: str) -> pika.ConnectionParameters:
    credentials = ExternalCredentials() if address.external else pika.PlainCredentials(address.user, address.password)
    tls = pika.SSLOptions(tls_context(address), address.server_name or address.host) if address.tls else None
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=credentials,
        heartbeat=_HEARTBEAT,
        socket_timeout=_CONNECT_LIMIT,
        stack_timeout=_CONNECT_LIMIT,
        ssl_options=tls,
        tcp_options={"TCP_USER_TIMEOUT": int(_UNSENT.total_seconds() * 1000)},
        client_properties={"connection_name": name, "product": "clusterbus"},
    )
