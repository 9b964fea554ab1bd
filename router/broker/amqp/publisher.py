"""Publishes with confirms, pipelined, over one channel after another.

| the broker | we |
|---|---|
| confirms | settle the message: confirmed, or unrouted if the broker returned it before |
| nacks | send nothing newer, let the rest settle, pause, send again in order; every fifth time over a new channel |
| closes the channel over a message (406: too large) | send one by one, find the culprit, settle it as refused |
| would break the connection over a message (its headers fit no frame) | do not send it, settle it as refused |
| does not have the exchange, or denies it (404, 403) | pause, declare, send again, forever, unless *impatient* |
| confirms nothing within the progress limit, not blocked | drop the connection, send all again to the next host |
| does not answer an event for ten seconds | the same, and to our own queues first: see `foreign_queues` |
| breaks the connection over a stream of others that it lost (506) | the same; over our own: see `declarations` |

An operator must fix a missing or denied exchange: until then all messages wait, in order, and none is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ...model.bounds import HEADER_FRAME
from ..addresses import Pauses
from ..interface import Message, Settlement
from ..outgoing.foreign_queues import SILENCE
from ..outgoing.outbox import Entry, Outbox, Settled
from ..topology import EVENTS, HISTORY, OWN_EVENTS
from .header_frame import header_octets
from .pika_types import Channel, Connection, Frame, Later, Properties, Returned, code_of, lost_stream, shown, text_of

log = logging.getLogger(__name__)

_HOPELESS = {406, 501, 502, 505}
"""Codes for an error of the message itself: precondition failed, frame, syntax and unexpected-frame errors."""
_MENDABLE = {403, 404}
_ROUNDS, _SHOWN, _LONGEST_REASON = 5, 255, 1000
_CHECKS = 12
"""How often progress is checked within the progress limit."""


class Publisher:
    """Publishes the messages in its outbox whenever it has a channel."""

    def __init__(  # noqa: PLR0913 - each is one collaborator
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
        for_others: Callable[[], None],
    ) -> None:
        """Publish from *outbox*; *properties* makes a message's properties; *unsendable* are the errors of encoding it.

        *redeclare* leads to another `ready`; *drop* leads to `lost` and, later, another `ready`.  *failed* gets what a
        settled function raises.  *for_others* is called where `outbox.others` has something.
        """
        self._outbox, self._properties, self._unsendable = outbox, properties, unsendable
        self._pauses, self._later, self._redeclare, self._drop, self._failed = pauses, later, redeclare, drop, failed
        self._limit, self._impatient, self._for_others = progress_limit, impatient, for_others
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._usable = False
        self._held = True
        self._pausing: Callable[[], None] | None = None
        self._rounds = 0
        self._seen = (0, 0)
        self._were_refusing = False
        self.blocked = ""
        """Why the broker blocks publishing, in its own words; empty if it does not."""

    @property
    def unsettled(self) -> int:
        """The number of unsettled messages."""
        return len(self._outbox)

    @property
    def refusals(self) -> int:
        """How many events queues of others have refused since they began to; 0 if they refuse none."""
        return self._outbox.foreign.refusals

    def start(self) -> None:
        """Begin to check the progress."""
        self._later(self._limit / _CHECKS, self._check)

    def publish(self, message: Message, settled: Settled) -> None:
        """Send *message* as soon as possible."""
        self._outbox.put(message, settled)
        self._pump()

    def hold(self) -> None:
        """Send nothing until `ready`: the topology is being declared."""
        self._held = True

    def ready(self, connection: Connection) -> None:
        """Send over *connection*: the topology is declared."""
        if connection is not self._connection:
            connection.add_on_connection_blocked_callback(self._block)
            connection.add_on_connection_unblocked_callback(self._unblock)
        self._connection, self._held = connection, False
        if self._channel is None:
            self._channel = connection.channel(on_open_callback=self._opened)
            # Immediately: the connection may be lost before its channel is open.
            self._channel.add_on_close_callback(self._closed)
        else:
            self._pump()

    def lost(self) -> None:
        """Note that the connection is lost; its channel is closed already."""
        self._connection, self._held, self.blocked = None, True, ""
        self._outbox.foreign.reconnected()

    def _block(self, _connection: Connection, frame: Any) -> None:  # noqa: ANN401 - pika has no types
        self.blocked = str(frame.method.reason or "without a reason")
        log.warning("the broker blocks publishing", extra={"reason": self.blocked, "waiting": len(self._outbox)})

    def _unblock(self, _connection: Connection, _frame: object) -> None:
        self.blocked = ""
        log.info("the broker accepts messages again", extra={"waiting": len(self._outbox)})

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
            message = entry.outgoing
            if (octets := header_octets(message)) > HEADER_FRAME:
                outbox.drop()
                self._refuse(entry, f"its headers may take {octets} octets; the limit is {HEADER_FRAME}")
                continue
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
            settled = self._outbox.refuse(method.delivery_tag, multiple=method.multiple)
        else:
            self._rounds = 0
            settled = self._outbox.confirm(method.delivery_tag, multiple=method.multiple)
        for entry in settled:
            self._settle(entry, entry.settlement)
        if len(self._outbox.others):
            self._for_others()
        self._tell_of_others()
        if not self._outbox.has_only_refused:
            self._pump()
        elif self._outbox.again():
            self._again()
        elif self._channel is not None:
            # Whoever is published to alone from now on is not to be judged by this channel: see `_again`.
            self._channel.close()

    def _tell_of_others(self) -> None:
        refusals = self._outbox.foreign.refusals
        if refusals and not self._were_refusing:
            log.error(
                "a queue of another service refuses events; ours get them, run: clusterbus doctor",
                extra={"exchange": EVENTS},
            )
        elif self._were_refusing and not refusals:
            log.info("no queue refuses events any more", extra={"exchange": EVENTS})
        self._were_refusing = bool(refusals)

    def _again(self) -> None:
        self._rounds += 1
        log.warning(
            "the broker refused messages; sending them again",
            extra={"waiting": len(self._outbox), "round": self._rounds, "way_out": "clusterbus doctor"},
        )
        if self._rounds % _ROUNDS == 0 and self._channel is not None:
            # After a crash of a queue's leader, RabbitMQ 3.10 may nack forever on this channel; a new one works.
            self._channel.close()
        else:
            self._pause(self._pump)

    def _pause(self, then: Callable[[], None]) -> None:
        def over() -> None:
            self._pausing = None
            then()

        if self._pausing:
            self._pausing()
        self._pausing = self._later(min(self._pauses.next(), self._outbox.foreign.longest_pause), over)

    def _returned(self, _channel: Channel, method: Returned, properties: Properties, _body: bytes) -> None:
        self._outbox.returned(method.exchange, method.routing_key, shown(properties.message_id))

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel, self._usable = None, False
        code = code_of(reason)
        if lost := lost_stream(text_of(reason)):
            self._leave_lost(lost)
        if code in _MENDABLE and OWN_EVENTS in text_of(reason):
            log.error(
                "cannot publish to our own queues alone; run: clusterbus broker setup, clusterbus broker users --apply",
                extra={"reason": text_of(reason)},
            )
            self._outbox.foreign.inseparable()
            self._outbox.lost()
            self._later(timedelta(), self._reopen)
            return
        hopeless = code in _HOPELESS or (code in _MENDABLE and self._impatient)
        culprit = self._outbox.lost(by_fault=hopeless or code in _MENDABLE)
        if code:
            log.warning(
                "the broker closed the publishing channel",
                extra={"reason": text_of(reason), "waiting": len(self._outbox)},
            )
        if culprit and hopeless:
            self._outbox.drop_culprit()
            self._refuse(culprit, text_of(reason))
        if code in _MENDABLE and not (culprit and hopeless):
            self._pause(self._redeclare)
        else:
            # No pause: each round settles or isolates a message.
            self._later(timedelta(), self._reopen)

    def _reopen(self) -> None:
        if self._connection is not None and self._connection.is_open and self._channel is None and not self._held:
            self.ready(self._connection)

    def _refuse(self, entry: Entry, reason: str) -> None:
        message = entry.message
        # Their length is not bounded here, and each refusal is logged.
        key, id_ = message.key[:_SHOWN], message.id[:_SHOWN]
        facts = {"exchange": message.exchange, "key": key, "id": id_, "reason": reason[:_LONGEST_REASON]}
        log.error("the broker will never accept this message", extra=facts)
        self._settle(entry, Settlement.REFUSED)

    def _settle(self, entry: Entry, settlement: Settlement) -> None:
        self._pauses.reset()
        try:
            entry.settled(settlement)
        except BaseException as error:  # noqa: BLE001 - pika would treat it as a broken connection
            self._failed(error)

    def _check(self) -> None:
        if not self.blocked and self._outbox.unanswered_for > SILENCE:
            self._leave_unanswered()
        outbox, (progress, checks) = self._outbox, self._seen
        waits = outbox.outstanding or (self._channel is not None and not self._usable)
        if self.blocked or not waits or outbox.progress != progress:
            self._seen = (outbox.progress, 0)
        elif checks + 1 < _CHECKS:
            self._seen = (progress, checks + 1)
        else:
            self._seen = (progress, 0)
            log.error("the broker confirms nothing", extra={"outstanding": outbox.outstanding, "waiting": len(outbox)})
            self._drop("the broker confirmed nothing within the progress limit")
        self._later(self._limit / _CHECKS, self._check)

    def _leave_lost(self, stream: str) -> None:
        """Publish to our own queues first, where *stream*, which is none of them, broke the connection."""
        if stream != HISTORY and self._outbox.unanswered_for:
            self._publish_apart(
                "a stream of another service is lost, and breaks connections that publish to it", stream
            )

    def _leave_unanswered(self) -> None:
        if self._publish_apart("the broker does not answer an event; perhaps a queue of another service holds it back"):
            self._drop("an event was not answered in time")

    def _publish_apart(self, sentence: str, queue: str = "") -> bool:
        outbox = self._outbox
        if not outbox.foreign.is_separable:
            return False
        way_out = "clusterbus doctor --part publishing"
        log.error(sentence, extra={"queue": queue, "outstanding": outbox.outstanding, "way_out": way_out})
        for entry in outbox.unanswered():
            self._settle(entry, entry.settlement)
        if len(outbox.others):
            self._for_others()
        return True
