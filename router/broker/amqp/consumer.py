"""Consumes queues, each over its own channel, so that a problem with one does not affect the others.

Acknowledgements are collected until the end of a batch and sent in as few frames as possible.  If the broker cancels a
consumer or closes its channel, the queue is consumed again after a pause and another declaration of the topology.

RabbitMQ breaks the connection when we consume a queue whose data it has lost.  So queues that were awaited then are
suspects, consumed last and one by one.  One that breaks another connection is left for some minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from ...errors import BrokerError, Refused
from ..addresses import Pauses
from ..interface import Arrival
from .consumption import OFFSET, Consumption, Consumptions, Lease, Receive, arrival_of
from .declarations import LEFT
from .pika_types import Channel, Connection, Deliver, Later, Properties, code_of, is_breaking, text_of

log = logging.getLogger(__name__)

_HOPELESS = {403, 404}


def _of(arrival: Arrival) -> tuple[Lease, int]:
    tag: tuple[Lease, int] = arrival.tag  # type: ignore[assignment]  # only `Consumer._receive` makes them
    return tag


class Consumer:
    """Consumes queues whenever it has a connection."""

    def __init__(  # noqa: PLR0913 - each is one collaborator
        self,
        *,
        pauses: Pauses,
        later: Later,
        at_end: Callable[[], None],
        redeclare: Callable[[], None],
        failed: Callable[[BaseException], None],
        impatient: bool,
        began: Callable[[str], None] = lambda _queue: None,
        leaves_out: Callable[[str], bool] = lambda _queue: False,
    ) -> None:
        """Call *at_end* when there are acknowledgements to send; it must lead to `flush` at the end of the batch.

        *redeclare* leads to another `ready`.  *failed* gets what a receive function raises; when *impatient*, also
        the error for a queue that is denied or missing.  *began* is called whenever the broker lets us consume a queue;
        none is consumed that *leaves_out*.
        """
        self._pauses, self._later, self._at_end, self._redeclare = pauses, later, at_end, redeclare
        self._failed, self.impatient, self._began, self._leaves_out = failed, impatient, began, leaves_out
        self._connection: Connection | None = None
        self._held = True
        self._consumptions = Consumptions()
        self._unflushed: dict[Lease, None] = {}

    def __len__(self) -> int:
        """Return the number of queues that are consumed."""
        return len(self._consumptions)

    @property
    def unread(self) -> tuple[str, ...]:
        """The queues that the broker does not let us consume."""
        return self._consumptions.unread

    @property
    def is_opening(self) -> bool:
        """Whether we are about to consume more queues."""
        return self._consumptions.is_opening

    def consume(
        self, queue: str, receive: Receive, prefetch: int, offset: str | int | None, *, settles: bool = False
    ) -> None:
        """Begin to consume *queue*, now or when there is a connection; raises BrokerError if it is consumed already.

        Messages of a stream count as settled as they arrive, unless *receive* *settles* them: then at most *prefetch*
        wait for that.
        """
        if queue in self._consumptions:
            raise BrokerError(f"queue {queue!r} is already consumed: cancel that first")
        self._consumptions[queue] = Consumption(queue, receive, prefetch, offset, settles=settles)
        self._start_all()

    def cancel(self, queue: str) -> None:
        """Stop receiving from *queue*."""
        consumption = self._consumptions.pop(queue, None)
        if consumption is None:
            return
        consumption.cancelled = True
        self._start_all()
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
        self.hold()
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

    def holds(self, arrival: Arrival) -> bool:
        """Say whether *arrival* can still be settled: if not, its connection is lost, and the broker delivers it again.

        May be called from any thread.
        """
        return _of(arrival)[0].channel is not None

    def requeue(self, arrival: Arrival) -> None:
        """Return *arrival* to its queue."""
        self._reject(arrival, requeue=True)

    def dead_letter(self, arrival: Arrival) -> None:
        """Give *arrival* to the dead-letter exchange of its queue."""
        self._reject(arrival, requeue=False)

    def _reject(self, arrival: Arrival, *, requeue: bool) -> None:
        lease, number = _of(arrival)
        if lease.channel is not None and lease.channel.is_open and lease.acks.settle(number):
            # reject, not nack: since RabbitMQ 4.3, a nack does not count towards the delivery limit.
            lease.channel.basic_reject(number, requeue=requeue)
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
        for consumption in self._consumptions.to_start(self._leaves_out):
            self._start(self._connection, consumption)

    def _start(self, connection: Connection, consumption: Consumption) -> None:
        def opened(channel: Channel) -> None:
            if consumption.cancelled:
                channel.close()
                return
            lease = consumption.lease = Lease(channel)
            channel.add_on_cancel_callback(lambda _frame: self._cancelled(consumption, lease))
            channel.basic_qos(prefetch_count=consumption.prefetch, callback=lambda _frame: subscribe(channel))

        def begun(_frame: object) -> None:
            self._pauses.reset()
            consumption.has_begun, consumption.is_suspect = True, False
            self._began(consumption.queue)
            self._start_all()

        def subscribe(channel: Channel) -> None:
            if consumption.cancelled:
                # Whoever cancelled it may have closed the channel, which still gets the answer that was under way.
                if channel.is_open:
                    channel.close()
                return
            receive = self._receive(consumption, consumption.lease)
            consumption.tag = channel.basic_consume(
                consumption.queue,
                receive,
                arguments=consumption.arguments,
                callback=begun,
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
            arrival = arrival_of(queue, lease, method, properties, body)
            wanted = not consumption.cancelled and (not is_stream or consumption.is_next(arrival.headers.get(OFFSET)))
            if wanted:
                try:
                    receive(arrival)
                except BaseException as error:  # noqa: BLE001 - pika would treat it as a broken connection
                    consumption.cancelled = True
                    failed(error)
            if is_stream and not (wanted and consumption.settles) and acks.ack(number):
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
        code, was_asked = code_of(reason), consumption.is_asked_for
        consumption.ended()
        if is_breaking(code) and was_asked and not consumption.cancelled:
            self._suspect(consumption, text_of(reason))
        if consumption.cancelled or self._connection is None or not self._connection.is_open:
            return
        if code:
            log.warning(
                "the broker closed a consuming channel", extra={"queue": consumption.queue, "reason": text_of(reason)}
            )
        if self.impatient and (code in _HOPELESS or (was_asked and code and not is_breaking(code))):
            self._failed(Refused(f"queue {consumption.queue!r} cannot be consumed: {text_of(reason)}"))
            return
        self._pause(consumption, max(self._pauses.next(), timedelta(milliseconds=50)))

    def _suspect(self, consumption: Consumption, reason: str) -> None:
        """Take *consumption* for the one that broke the connection; if it was one before, it was alone, so it is."""
        if consumption.is_suspect:
            log.error(
                "the broker breaks the connection when it is to give us a queue: all others are consumed",
                extra={"queue": consumption.queue, "reason": reason, "pause": LEFT.total_seconds()},
            )
            self._pause(consumption, LEFT)
        consumption.is_suspect = True

    def _pause(self, consumption: Consumption, pause: timedelta) -> None:
        def over() -> None:
            consumption.pausing = None
            self._redeclare()

        consumption.pausing = self._later(pause, over)
