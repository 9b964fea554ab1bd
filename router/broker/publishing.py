"""To publish with confirms, pipelined, over one channel after another.

| the broker | we |
|---|---|
| confirms | settle it: confirmed, or unrouted where the broker had returned it |
| nacks | send nothing newer, let the rest settle, pause, send again in order; after five rounds over a new channel |
| closes the channel over a message (406: too large) | send one by one until the culprit shows, settle it as refused |
| has no such exchange, or denies it (404, 403) | declare again, pause, send again, for ever, unless *impatient* |
| confirms nothing for the progress limit, not blocked | drop the connection: the next host gets all again |

An exchange that is missing or denied is for an operator to mend: all waits for it, in order, and nothing is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from . import Message, Settlement
from .addresses import Pauses
from .amqp import Channel, Connection, Frame, Later, Properties, Returned, code_of, text_of
from .outbox import Entry, Outbox, Settled

log = logging.getLogger(__name__)

_HOPELESS = {406, 501, 502, 505}
"""What is wrong with the message itself: precondition failed, frame, syntax and unexpected-frame errors."""

_MENDABLE = {403, 404}
_ROUNDS = 5
_CHECKS = 4
"""So often within the progress limit it is looked at."""


class Publisher:
    """Publishes what is in its outbox whenever it has a channel."""

    def __init__(  # noqa: PLR0913 - each is one thing that it is given
        self,
        outbox: Outbox,
        *,
        properties: Callable[[Message], object],
        unsendable: tuple[type[Exception], ...],
        pauses: Pauses,
        later: Later,
        redeclare: Callable[[], None],
        drop: Callable[[str], None],
        failed: Callable[[BaseException], None],
        progress_limit: timedelta,
        impatient: bool,
    ) -> None:
        """Publish from *outbox* with what *properties* makes of a message; *unsendable* is raised where it can't.

        *redeclare* leads to another `ready`; *drop* to `lost` and, later, another `ready`.  What a settled function
        raises goes to *failed*.
        """
        self._outbox, self._properties, self._unsendable = outbox, properties, unsendable
        self._pauses, self._later, self._redeclare, self._drop, self._failed = pauses, later, redeclare, drop, failed
        self._limit, self._impatient = progress_limit, impatient
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._usable = False
        self._held = True
        self._pausing: Callable[[], None] | None = None
        self._rounds = 0
        self._seen = (0, 0)
        self._blocked = False

    @property
    def unsettled(self) -> int:
        """How many messages are not settled."""
        return len(self._outbox)

    def start(self) -> None:
        """Begin to watch the progress."""
        self._later(self._limit / _CHECKS, self._check)

    def publish(self, message: Message, settled: Settled) -> None:
        """Send *message* as soon as that can be."""
        self._outbox.put(message, settled)
        self._pump()

    def hold(self) -> None:
        """Send nothing until `ready`: what it is to meet is being declared."""
        self._held = True

    def ready(self, connection: Connection) -> None:
        """Send over *connection*: the topology is there."""
        if connection is not self._connection:
            connection.add_on_connection_blocked_callback(self._block)
            connection.add_on_connection_unblocked_callback(self._unblock)
        self._connection, self._held = connection, False
        if self._channel is None:
            self._channel = connection.channel(on_open_callback=self._opened)
            # At once: a connection may be lost before its channel is open.
            self._channel.add_on_close_callback(self._closed)
        else:
            self._pump()

    def lost(self) -> None:
        """Know that the connection is gone; its channel was closed before."""
        self._connection, self._held, self._blocked = None, True, False

    def _block(self, _connection: Connection, frame: Any) -> None:  # noqa: ANN401 - pika has no types
        self._blocked = True
        log.warning("broker blocks publishing", extra={"reason": frame.method.reason, "waiting": len(self._outbox)})

    def _unblock(self, _connection: Connection, _frame: object) -> None:
        self._blocked = False
        log.info("broker lets us publish again", extra={"waiting": len(self._outbox)})

    def _opened(self, channel: Channel) -> None:
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=self._selected)

    def _selected(self, _frame: object) -> None:
        self._usable = True
        self._pump()

    def _pump(self) -> None:
        channel = self._channel
        if channel is None or not self._usable or self._held or self._pausing:
            return
        outbox = self._outbox
        while (entry := outbox.next()) is not None:
            message = entry.message
            try:
                channel.basic_publish(message.exchange, message.key, message.body, self._properties(message), True)  # noqa: FBT003 - pika's order
            except self._unsendable as error:
                if not channel.is_open:
                    return
                outbox.drop()
                self._refuse(entry, f"{type(error).__name__}: {error}")
            else:
                outbox.sent()

    def _confirmed(self, frame: Frame) -> None:
        method = frame.method
        if method.NAME == "Basic.Nack":
            self._outbox.refuse(method.delivery_tag, multiple=method.multiple)
        else:
            self._rounds = 0
            for entry in self._outbox.confirm(method.delivery_tag, multiple=method.multiple):
                self._settle(entry, entry.settlement)
        if self._outbox.must_pause:
            self._again()
        else:
            self._pump()

    def _again(self) -> None:
        self._rounds += 1
        self._outbox.again()
        log.warning("broker refused messages for now", extra={"waiting": len(self._outbox), "round": self._rounds})
        if self._rounds % _ROUNDS == 0 and self._channel is not None:
            # RabbitMQ 3.10 may nack for ever on a channel that met a crashed leader; a new one works.
            self._channel.close()
        else:
            self._pause(self._pump)

    def _pause(self, then: Callable[[], None]) -> None:
        def over() -> None:
            self._pausing = None
            then()

        if self._pausing:
            self._pausing()
        self._pausing = self._later(self._pauses.next(), over)

    def _returned(self, _channel: Channel, method: Returned, properties: Properties, _body: bytes) -> None:
        self._outbox.returned(method.exchange, method.routing_key, properties.message_id or "")

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel, self._usable = None, False
        code = code_of(reason)
        hopeless = code in _HOPELESS or (code in _MENDABLE and self._impatient)
        culprit = self._outbox.lost(by_fault=hopeless or code in _MENDABLE)
        if code:
            log.warning("publishing channel closed", extra={"reason": text_of(reason), "waiting": len(self._outbox)})
        if culprit and hopeless:
            self._outbox.drop_culprit()
            self._refuse(culprit, text_of(reason))
        if code in _MENDABLE and not (culprit and hopeless):
            self._pause(self._redeclare)
        else:
            # Each round settles or singles out a message, or comes after pauses of its own: no need for another.
            self._later(timedelta(), self._reopen)

    def _reopen(self) -> None:
        if self._connection is not None and self._connection.is_open and self._channel is None and not self._held:
            self.ready(self._connection)

    def _refuse(self, entry: Entry, reason: str) -> None:
        message = entry.message
        facts = {"exchange": message.exchange, "key": message.key, "id": message.id, "reason": reason}
        log.error("broker will never take this message", extra=facts)
        self._settle(entry, Settlement.REFUSED)

    def _settle(self, entry: Entry, settlement: Settlement) -> None:
        self._pauses.reset()
        try:
            entry.settled(settlement)
        except BaseException as error:  # noqa: BLE001 - pika would take it for a broken connection
            self._failed(error)

    def _check(self) -> None:
        outbox, (progress, checks) = self._outbox, self._seen
        waits = outbox.outstanding or (self._channel is not None and not self._usable)
        if self._blocked or not waits or outbox.progress != progress:
            self._seen = (outbox.progress, 0)
        elif checks + 1 < _CHECKS:
            self._seen = (progress, checks + 1)
        else:
            self._seen = (progress, 0)
            log.error("broker confirms nothing", extra={"outstanding": outbox.outstanding, "waiting": len(outbox)})
            self._drop("no confirm within the progress limit")
        self._later(self._limit / _CHECKS, self._check)
