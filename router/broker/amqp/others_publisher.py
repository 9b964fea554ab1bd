"""Publishes to the queues of others over a connection of its own, while one of them answers nothing.

RabbitMQ takes nothing more from a connection whose channel waits for such a queue.  So an answer that does not come in
time ends the connection, and the next one begins with a single event, after a pause that grows each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from ..interface import Message
from ..outgoing.others_outbox import OthersOutbox
from .pika_types import Channel, Connection, Frame, Later, code_of, text_of

log = logging.getLogger(__name__)

_LONGEST_PAUSE = timedelta(minutes=1)


class OthersPublisher:
    """Publishes what is in its outbox whenever it has a channel; the work of a line."""

    def __init__(
        self,
        outbox: OthersOutbox,
        *,
        properties: Callable[[Message], object],
        later: Later,
        drop: Callable[[str], None],
        limit: timedelta,
    ) -> None:
        """Publish from *outbox*; *properties* makes a message's properties, *drop* ends the connection.

        An answer may take *limit*.
        """
        self._outbox, self._properties, self._later, self._drop, self._limit = outbox, properties, later, drop, limit
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._is_usable = self._is_blocked = self._is_checking = self._is_pausing = False
        self._pause = limit

    def publish(self) -> None:
        """Send what waits, as far as answers allow."""
        channel = self._channel if self._is_usable and not self._is_pausing else None
        while channel is not None and (message := self._outbox.next()) is not None:
            channel.basic_publish(message.exchange, message.key, message.body, self._properties(message), False)  # noqa: FBT003 - pika's order
        if len(self._outbox) and not self._is_checking:
            self._is_checking = True
            self._later(self._limit / 4, self._check)

    def hold(self) -> None:
        """Start nothing new until `ready`."""
        self._is_usable = False

    def ready(self, connection: Connection) -> None:
        """Send over *connection*."""
        if connection is not self._connection:
            connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(is_blocked=True))
            connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(is_blocked=False))
        self._connection = connection
        self._open()

    def lost(self) -> None:
        """Note that the connection is lost, with its channel."""
        self._connection = self._channel = None
        self._is_usable = self._is_blocked = False
        self._outbox.lost()

    def _open(self) -> None:
        if self._connection is not None and self._connection.is_open and self._channel is None:
            self._channel = self._connection.channel(on_open_callback=self._opened)
            self._channel.add_on_close_callback(self._closed)

    def _opened(self, channel: Channel) -> None:
        channel.confirm_delivery(self._answered, callback=self._selected)

    def _selected(self, _frame: object) -> None:
        self._is_usable = True
        self.publish()

    def _set_blocked(self, *, is_blocked: bool) -> None:
        self._is_blocked = is_blocked

    def _answered(self, frame: Frame) -> None:
        method = frame.method
        taken = method.NAME != "Basic.Nack"
        self._pause = self._limit
        self._outbox.answered(method.delivery_tag, multiple=method.multiple, taken=taken)
        self.publish()

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        if code_of(reason):
            log.warning("the broker closed the channel to the queues of others", extra={"reason": text_of(reason)})
        self._channel, self._is_usable = None, False
        self._outbox.lost()
        self._later(self._limit, self._open)

    def _check(self) -> None:
        self._is_checking = False
        if self._is_blocked or self._outbox.unanswered_for < self._limit:
            self.publish()
            return
        self._is_pausing = True
        self._later(self._pause, self._go_on)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._drop("a queue of another service does not answer")

    def _go_on(self) -> None:
        self._is_pausing = False
        self.publish()
