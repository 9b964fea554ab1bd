"""One program's client for RabbitMQ, with two connections: one to publish and one to consume.

A broker that is short of disk or memory stops reading from a connection that publishes; acknowledgements must not
stop with it, so they use the other one.  Both use one event loop, in the thread that runs `run`.
"""

from __future__ import annotations

import logging
import random
import struct
import time
from collections.abc import Callable, Iterator, Sequence
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
from .addresses import Address, Pauses, parse, tls_context, turns
from .amqp.connections import Line, end_all
from .amqp.consumer import Consumer, Receive
from .amqp.declarations import Denials, steps
from .amqp.event_loop import Loop
from .amqp.publisher import Publisher
from .amqp.requests import Questions
from .foreign_queues import ForeignQueues
from .interface import Arrival, Message
from .outbox import Outbox, Settled
from .topology import Topology

log = logging.getLogger(__name__)

_HEARTBEAT = 15
_UNSENT = timedelta(seconds=20)
"""If the peer's kernel does not acknowledge sent data for this long, the connection breaks."""

_CONNECT_LIMIT = 10
_GOODBYE = timedelta(seconds=1)
"""How long we wait for the broker to answer when we close a connection; then we drop it."""

_FIRST_PAUSE = timedelta(milliseconds=500)
_LONGEST_PAUSE = timedelta(seconds=10)
_DENIED = (AuthenticationError, ProbableAuthenticationError, ProbableAccessDeniedError)
_UNSENDABLE = (AMQPError, struct.error, ValueError, TypeError, AttributeError)
"""What pika raises for a message that it cannot encode: a key over 255 octets, a header of an unknown type."""


class _Connection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that survives properties that pika cannot decode.

    Examples are a timestamp after the year 9999, or tables nested a thousand deep.  Without this class, anyone who may
    publish could disconnect all consumers for as long as the message exists.  With it, the message arrives without
    properties, so without a user, and is rejected for that.
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
        """Break the connection without a handshake: the broker may never answer one."""
        if not self.is_closed and not self._dropped:
            # pika has no public way to close a connection whose peer is silent.  Its own exception for that,
            # ConnectionOpenAborted, fails an assertion in pika while the connection is not open yet.
            self._dropped = True
            self._terminate_stream(AMQPConnectionError(reason))


class Rabbit:
    """A `Broker` that uses RabbitMQ.  It runs once: calls after `run` has returned have no effect."""

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
        """Use one of the brokers at *urls*, whichever answers, as the program *name*.

        With *give_up*, `run` raises Unreachable if there is no connection for that long from the start, and Refused
        for problems that only an operator can fix; without it, `run` tries forever.  *flush_limit* limits `stop`.

        `questions` asks about queues, `questions_of_consumer` does so over the connection that consumes.  `denials` has
        what our user may not declare.

        Raises SettingsError for a URL that cannot be used.
        """
        addresses = [parse(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not addresses:
            raise SettingsError("no broker is configured: set at least one URL, such as amqp://USER@HOST/")
        self._parameters = {address: _parameters(address, name) for address in addresses}
        self._give_up, self._flush_limit = give_up, flush_limit
        self._ioloop = IOLoop()
        self._loop = Loop(self._ioloop)
        self._stopping = self._started = False
        self.questions, self.questions_of_consumer = Questions(self._loop.fail), Questions(self._loop.fail)
        chance = random.Random()  # noqa: S311 - spreads load, protects no secret
        self._pauses = partial(Pauses, _FIRST_PAUSE, longest_pause, chance, each=len(addresses))
        self._shared: dict[str, Any] = {
            "later": self._loop.later,
            "failed": self._loop.fail,
            "impatient": give_up is not None,
        }
        self.denials = Denials()
        self._publisher, self._consumer = self._make_work(
            Outbox(window, ForeignQueues(lambda: timedelta(seconds=time.monotonic()))), progress_limit
        )
        self._publishing, self._consuming = self._make_lines(turns(addresses, chance), progress_limit)

    def _make_work(self, outbox: Outbox, progress_limit: timedelta) -> tuple[Publisher, Consumer]:
        publisher = Publisher(
            outbox,
            properties=self._properties,
            unsendable=_UNSENDABLE,
            pauses=self._pauses(),
            # The lines do not exist yet, so these cannot be their methods.
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

    def _make_lines(self, brokers: Iterator[Address], progress_limit: timedelta) -> tuple[Line, Line]:
        line: Callable[..., Line] = partial(
            Line,
            turns=brokers,
            connect=self._connect,
            is_denial=_is_denial,
            denied=self.denials,
            limit=progress_limit,
            **self._shared,
        )
        publishing = line("publish", self._publisher, then=self.questions.over, pauses=self._pauses())
        return publishing, line("consume", self._consumer, then=self.questions_of_consumer.over, pauses=self._pauses())

    @property
    def blocked(self) -> str:
        """Why the broker blocks publishing, in its own words; empty if it does not."""
        return self._publisher.blocked

    @property
    def refusals(self) -> int:
        """How many events queues of others have refused since they began to; 0 if they refuse none."""
        return self._publisher.refusals

    def declare(self, topology: Topology) -> None:
        """Declare *topology* before anything is consumed or published, now and after each reconnect."""
        todo = steps(topology)
        self._publishing.declare(todo)
        self._consuming.declare(todo)

    def consume(self, queue: str, receive: Receive, *, prefetch: int, offset: str | None = None) -> None:
        """Call *receive* for each message of *queue*; a stream continues after the last message at each reconnect."""
        self._consumer.consume(queue, receive, prefetch, offset)
        if self._started:
            self._consuming.start()

    def cancel(self, queue: str) -> None:
        """Stop receiving from *queue*; messages that have arrived may still be settled."""
        self._consumer.cancel(queue)

    def publish(self, message: Message, settled: Settled) -> None:
        """Publish *message*; *settled* is called exactly once."""
        self._publisher.publish(message, settled)

    def ack(self, arrival: Arrival) -> None:
        """Settle *arrival*; the acknowledgement is sent at the end of the batch."""
        self._consumer.ack(arrival)

    def requeue(self, arrival: Arrival) -> None:
        """Return *arrival* to its queue; each time counts towards the queue's delivery limit."""
        self._consumer.requeue(arrival)

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* in the thread of `run`; safe from other threads and signal handlers: it takes no lock."""
        self._loop.call(function)

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        """Call *function* after *delay*; returns a function that cancels the call."""
        return self._loop.later(delay, function)

    def when_idle(self, function: Callable[[], None]) -> None:
        """Call *function* once when all messages received so far are handed over."""
        self._loop.when_idle(function)

    def run(self) -> None:
        """Work until `stop`; raises what a called function of ours raises."""
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
        """Cancel all consumers, wait (bounded) until all published messages are confirmed, close, and leave `run`."""
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
                log.warning(
                    "stopped before all messages were confirmed", extra={"unsettled": self._publisher.unsettled}
                )
            self._consumer.flush()
            self._end(at_once=False)

        self.when_idle(look)

    # Private methods.

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
    # pika reports any connection that is lost at this moment as a denial; only the broker's answer is one.
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
