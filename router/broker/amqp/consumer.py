"""Consumes queues, each over its own channel, so that a problem with one does not affect the others.

Acknowledgements are collected until the end of a batch and sent in as few frames as possible.  If the broker cancels a
consumer or closes its channel, the queue is consumed again after a pause and another declaration of the topology.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta

from ...errors import BrokerError, Refused
from ..addresses import Pauses
from ..interface import Arrival
from .acks import Acks
from .pika_types import Channel, Connection, Deliver, Later, Properties, code_of, text_of

log = logging.getLogger(__name__)

Receive = Callable[[Arrival], None]

_OFFSET = "x-stream-offset"
_DENIED = 403


def text(value: str | bytes | None) -> str:
    r"""Return an AMQP short string as text: pika returns bytes if it is not UTF-8, and anyone may send that.

    >>> text(b"caf\xe9"), text(None)
    ('caf\\xe9', '')
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value or ""


class Lease:
    """The deliveries over one channel; they are void when the channel is lost."""

    __slots__ = ("acks", "channel", "leaving")

    def __init__(self, channel: Channel) -> None:
        """Keep *channel*."""
        self.channel: Channel | None = channel
        self.acks = Acks()
        self.leaving = False


def _of(arrival: Arrival) -> tuple[Lease, int]:
    tag: tuple[Lease, int] = arrival.tag  # type: ignore[assignment]  # only `Consumer._receive` makes them
    return tag


class Consumption:
    """One queue that we consume, and its state."""

    __slots__ = ("cancelled", "last", "lease", "offset", "opening", "pausing", "prefetch", "queue", "receive", "tag")

    def __init__(self, queue: str, receive: Receive, prefetch: int, offset: str | None) -> None:
        """Keep the arguments of `Consumer.consume`."""
        self.queue, self.receive, self.prefetch, self.offset = queue, receive, prefetch, offset
        self.opening: Channel | None = None
        self.lease: Lease | None = None
        self.last: int | None = None
        self.tag = ""
        self.pausing: Callable[[], None] | None = None
        self.cancelled = False

    @property
    def arguments(self) -> Mapping[str, object]:
        """The position in a stream to begin at: after the last message that arrived over any connection."""
        if self.offset is None:
            return {}
        return {_OFFSET: self.offset if self.last is None else self.last + 1}

    def is_next(self, offset: object) -> bool:
        """Note the *offset* of a message of a stream; False if the message has arrived before.

        If the requested offset is not written yet, RabbitMQ 3.10 begins with the last chunk of the stream.
        """
        if not isinstance(offset, int):
            return True
        if self.last is not None and offset <= self.last:
            return False
        self.last = offset
        return True


class Consumer:
    """Consumes queues whenever it has a connection."""

    def __init__(
        self,
        *,
        pauses: Pauses,
        later: Later,
        at_end: Callable[[], None],
        redeclare: Callable[[], None],
        failed: Callable[[BaseException], None],
        impatient: bool,
    ) -> None:
        """Call *at_end* when there are acknowledgements to send; it must lead to `flush` at the end of the batch.

        *redeclare* leads to another `ready`.  *failed* gets what a receive function raises; when *impatient*, also
        the error for a queue that is denied or missing.
        """
        self._pauses, self._later, self._at_end, self._redeclare = pauses, later, at_end, redeclare
        self._failed, self._impatient = failed, impatient
        self._connection: Connection | None = None
        self._held = True
        self._consumptions: dict[str, Consumption] = {}
        self._unflushed: dict[Lease, None] = {}

    def __len__(self) -> int:
        """Return the number of queues that are consumed."""
        return len(self._consumptions)

    def consume(self, queue: str, receive: Receive, prefetch: int, offset: str | None) -> None:
        """Begin to consume *queue*, now or when there is a connection; raises BrokerError if it is consumed already."""
        if queue in self._consumptions:
            raise BrokerError(f"queue {queue!r} is already consumed: cancel that first")
        self._consumptions[queue] = Consumption(queue, receive, prefetch, offset)
        self._start_all()

    def cancel(self, queue: str) -> None:
        """Stop receiving from *queue*."""
        consumption = self._consumptions.pop(queue, None)
        if consumption is None:
            return
        consumption.cancelled = True
        if consumption.pausing:
            consumption.pausing()
        lease, channel = consumption.lease, consumption.opening
        if lease is None or lease.channel is None:
            if channel is not None and channel.is_open:
                channel.close()
        elif not lease.channel.is_open:
            return
        elif consumption.offset is not None:
            # pika rejects messages that still arrive for a cancelled consumer, and RabbitMQ 3.10 drops the connection
            # when a message of a stream is rejected.
            self._flush(lease)
            lease.channel.close()
        elif consumption.tag:
            lease.channel.basic_cancel(consumption.tag, callback=lambda _frame: self._leave(lease))

    def cancel_all(self) -> None:
        """Stop receiving from all queues."""
        for queue in list(self._consumptions):
            self.cancel(queue)

    def hold(self) -> None:
        """Start nothing new until `ready`: the topology is being declared."""
        self._held = True

    def ready(self, connection: Connection) -> None:
        """Consume over *connection*: the topology is declared."""
        self._connection, self._held = connection, False
        self._start_all()

    def lost(self) -> None:
        """Note that the connection is lost; its channels are closed already."""
        self._connection, self._held = None, True
        self._unflushed.clear()

    def ack(self, arrival: Arrival) -> None:
        """Acknowledge *arrival* at the end of the batch."""
        lease, number = _of(arrival)
        if lease.channel is not None and lease.acks.ack(number):
            self._later_flush(lease)

    def requeue(self, arrival: Arrival) -> None:
        """Return *arrival* to its queue."""
        lease, number = _of(arrival)
        if lease.channel is not None and lease.channel.is_open and lease.acks.settle(number):
            # reject, not nack: since RabbitMQ 4.3, a nack does not count towards the delivery limit.
            lease.channel.basic_reject(number, requeue=True)
            if lease.leaving:
                self._later_flush(lease)

    def flush(self) -> None:
        """Send all acknowledgements to the broker."""
        for lease in self._unflushed:
            self._flush(lease)
        self._unflushed.clear()

    def _flush(self, lease: Lease) -> None:
        channel = lease.channel
        if channel is not None and channel.is_open:
            for number, multiple in lease.acks.frames():
                channel.basic_ack(number, multiple)
            if lease.leaving and not lease.acks:
                channel.close()

    def _leave(self, lease: Lease) -> None:
        """Close the channel of *lease* once nothing is unsettled; acknowledgements that were not sent go first."""
        lease.leaving = True
        self._flush(lease)

    def _later_flush(self, lease: Lease) -> None:
        if not self._unflushed:
            self._at_end()
        self._unflushed[lease] = None

    def _start_all(self) -> None:
        if self._connection is None or self._held or not self._connection.is_open:
            return
        for consumption in self._consumptions.values():
            if consumption.opening is None and not consumption.pausing:
                self._start(self._connection, consumption)

    def _start(self, connection: Connection, consumption: Consumption) -> None:
        def opened(channel: Channel) -> None:
            if consumption.cancelled:
                channel.close()
                return
            lease = consumption.lease = Lease(channel)
            channel.add_on_cancel_callback(lambda _frame: self._cancelled(consumption, lease))
            channel.basic_qos(prefetch_count=consumption.prefetch, callback=lambda _frame: subscribe(channel))

        def subscribe(channel: Channel) -> None:
            if consumption.cancelled:
                channel.close()
                return
            receive = self._receive(consumption, consumption.lease)
            consumption.tag = channel.basic_consume(
                consumption.queue,
                receive,
                arguments=consumption.arguments,
                callback=lambda _frame: self._pauses.reset(),
            )

        channel = consumption.opening = connection.channel(on_open_callback=opened)
        # Immediately: the connection may be lost before its channel is open.
        channel.add_on_close_callback(lambda channel, reason: self._closed(consumption, channel, reason))

    def _receive(
        self, consumption: Consumption, lease: Lease | None
    ) -> Callable[[Channel, Deliver, Properties, bytes], None]:
        assert lease is not None  # noqa: S101 - always true: the lease is made with the channel
        queue, receive, acks, failed = consumption.queue, consumption.receive, lease.acks, self._failed
        is_stream = consumption.offset is not None

        def arrived(_channel: Channel, method: Deliver, properties: Properties, body: bytes) -> None:
            number = method.delivery_tag
            acks.deliver(number)
            headers = properties.headers or {}
            user = properties.user_id
            arrival = Arrival(
                queue,
                text(method.exchange),
                text(method.routing_key),
                body,
                text(properties.message_id),
                None if user is None else text(user),
                headers,
                method.redelivered,
                (lease, number),
            )
            if not consumption.cancelled and (not is_stream or consumption.is_next(headers.get(_OFFSET))):
                try:
                    receive(arrival)
                except BaseException as error:  # noqa: BLE001 - pika would treat it as a broken connection
                    consumption.cancelled = True
                    failed(error)
            if is_stream and acks.ack(number):
                self._later_flush(lease)

        return arrived

    def _cancelled(self, consumption: Consumption, lease: Lease) -> None:
        channel = lease.channel
        if channel is not None and consumption.opening is channel and channel.is_open:
            log.warning("the broker cancelled a consumer", extra={"queue": consumption.queue})
            self._flush(lease)
            channel.close()

    def _closed(self, consumption: Consumption, channel: Channel, reason: Exception) -> None:
        if consumption.lease is not None and consumption.lease.channel is channel:
            consumption.lease.channel = None
        if consumption.opening is not channel:
            return
        consumption.opening, consumption.tag = None, ""
        if consumption.cancelled or self._connection is None or not self._connection.is_open:
            return
        code = code_of(reason)
        if code:
            log.warning(
                "the broker closed a consuming channel", extra={"queue": consumption.queue, "reason": text_of(reason)}
            )
        if self._impatient and code in {_DENIED, 404}:
            self._failed(Refused(f"queue {consumption.queue!r} cannot be consumed: {text_of(reason)}"))
            return

        def over() -> None:
            consumption.pausing = None
            self._redeclare()

        consumption.pausing = self._later(max(self._pauses.next(), timedelta(milliseconds=50)), over)
