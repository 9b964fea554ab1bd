"""The line to the broker: records go out, confirms come back, and whatever breaks in between is tried again.

One connection at a time, to one broker of several, tried in turn.  A record is in somebody's care at every moment: in
the spool's, until the broker's confirm has come.  Each way to fail has its own sentence and its own count.
"""

from __future__ import annotations

import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Callable, Protocol

import pika
import pika.exceptions
from pika.spec import Basic, BasicProperties

from .connection import SILENT, Connection, IOLoop, Messages, diagnosis, parameters, told
from .flow import Flow, jittered
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .metrics import Metrics
    from .records import Record
    from .settings import Broker, Settings

log = logging.getLogger("clusterbus.relay.publisher")

EXCHANGE = "clusterbus.ingress"
_FIRST_DELAY = 0.5
_NACKS_UNTIL_NEW_CHANNEL = 3  # RabbitMQ 3.10 may nack everything on a channel that saw its queue's leader die
_STEADY = 60.0  # a connection that lasted this long makes up for earlier failures
_NOT_FOUND = 404


class Source(Protocol):
    """Where records come from, and whom it concerns what became of them."""

    @property
    def epoch(self) -> str:
        """The id of the spool's life."""

    @property
    def following(self) -> int:
        """The sequence number that the next new record gets."""

    def records(self, count: int, size: int) -> Sequence[Record]:
        """Return the next records, about *count* and *size* bytes; none when there are none now."""

    def confirmed(self, records: Sequence[Record]) -> None:
        """Take note that the broker has *records* now."""

    def hopeless(self, record: Record, reason: str) -> None:
        """Take note that the broker will never take *record*."""


class Publisher:
    """Publishes what *source* gives it, for as long as it takes."""

    def __init__(self, loop: IOLoop, settings: Settings, source: Source, metrics: Metrics) -> None:
        """Do nothing before `wake`; *loop* is the caller's, and everything happens in it."""
        self._loop, self._settings, self._source, self._metrics = loop, settings, source, metrics
        self._chance = random.SystemRandom()
        self._brokers = self._chance.sample(settings.brokers, len(settings.brokers))
        self._flow = Flow(settings.window)
        self._line = 0  # numbers the connections; callbacks of those given up are ignored
        self._connection: Connection | None = None
        self._channel: pika.channel.Channel | None = None
        self._timers = Timers(loop)
        self._turn = self._failures = self._tag = self._nacks = 0
        self._blocked = self._left = False
        self._confirmed: list[Record] = []  # of which the source was not told yet
        self._ready_at = self._progress_at = 0.0
        self._finished: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a channel to publish on."""
        return self._channel is not None

    @property
    def unsettled(self) -> int:
        """How many records were sent and are not confirmed yet."""
        return self._flow.unsettled

    @property
    def broker(self) -> Broker:
        """The broker whose turn it is."""
        return self._brokers[(self._turn - 1) % len(self._brokers)]

    def wake(self) -> None:
        """Take note that there are records."""
        if self._channel is not None:
            self._soon()
        elif self._connection is None and "retry" not in self._timers and self._finished is None:
            self._connect()

    def say(self, record: Record) -> None:
        """Publish *record*, which is in no spool, if that can be done now; it is never sent again."""
        if self._channel is None or self._blocked or self._finished:
            return
        last = self._flow.before(self._source.following)
        if self._flow.send_beside(self._tag + 1, record):
            self._send(self._frames(record._replace(sequence=last)))

    def finish(self, within: float, finished: Callable[[], None]) -> None:
        """Send nothing more, wait for the confirms that are due but not longer than *within* seconds, disconnect."""
        if self._finished is None:
            self._finished = finished
            self._timers.start("finish", within, self._leave)
            if self._channel is None or not self._flow.unsettled:
                self._leave()

    # connecting

    def _connect(self) -> None:
        self._turn += 1
        self._line += 1
        line = self._line
        try:
            how = parameters(self.broker, self._settings)
        except (OSError, ValueError) as error:
            self._down("password or certificate cannot be read", "insecure", str(error))
            return
        self._connection = Connection(
            how,
            on_open_callback=partial(self._opened, line),
            on_open_error_callback=partial(self._not_opened, line),
            on_close_callback=partial(self._lost, line),
            custom_ioloop=self._loop,
        )

    def _opened(self, line: int, connection: pika.connection.Connection) -> None:
        if line == self._line:
            # Until here pika has the same limit.  From here on a broker may fall silent at any step of the way.
            self._timers.start("setup", self._settings.progress_limit.total_seconds(), self._no_progress)
            connection.add_on_connection_blocked_callback(partial(self._on_blocked, line))
            connection.add_on_connection_unblocked_callback(partial(self._on_unblocked, line))
            self._open_channel()

    def _open_channel(self) -> None:
        if self._connection is not None:
            self._connection.channel(on_open_callback=partial(self._channel_opened, self._line))

    def _channel_opened(self, line: int, channel: pika.channel.Channel) -> None:
        if line == self._line:
            channel.add_on_close_callback(partial(self._channel_closed, line))
            channel.add_on_return_callback(partial(self._on_returned, line))
            channel.confirm_delivery(partial(self._settled, line), callback=partial(self._confirming, line, channel))

    def _confirming(self, line: int, channel: pika.channel.Channel, _: object) -> None:
        if line != self._line:
            return
        self._timers.stop("setup")
        self._tag = 0
        self._channel = channel
        self._messages = Messages(channel, EXCHANGE, self._source.epoch, self.broker.user)
        if not self._metrics.gauges["up"]:
            self._ready_at = time.monotonic()
            self._metrics.count("connected")
            self._metrics.set("up", 1)
            log.info("broker connected", extra={"broker": repr(self.broker)})
        self._soon()

    def _not_opened(self, line: int, _: object, error: BaseException) -> None:
        if line == self._line:
            self._down(*diagnosis(error), told(error))

    def _lost(self, line: int, _: object, error: BaseException) -> None:
        if line == self._line:
            self._down("broker connection lost", "disconnected", told(error))

    def _no_progress(self) -> None:
        self._down(
            SILENT,
            "stalled",
            f"nothing for {self._settings.progress_limit.total_seconds():g} s, {self._flow.unsettled} unsettled",
        )

    def _down(self, sentence: str, kind: str, reason: str) -> None:
        """Give this connection up, however far it came, and have the next broker tried after a while."""
        if self._ready_at and time.monotonic() - self._ready_at > _STEADY:
            self._failures = 0
        self._failures += 1
        attempt = (self._failures - 1) // len(self._brokers) + 1
        delay = self._delay(attempt)
        facts = {"broker": repr(self.broker), "reason": reason, "delay": round(delay, 3)}
        log.warning(sentence, extra={**facts, "unsettled": self._flow.unsettled})
        self._metrics.count(kind)
        self._drop()
        if self._finished is not None:
            self._leave()
        else:
            self._timers.start("retry", delay, self._connect)

    def _drop(self) -> None:
        """Let go of the connection; what is unsettled will be sent again."""
        connection, self._connection, self._channel = self._connection, None, None
        self._line += 1
        self._ready_at = 0.0
        self._on_unblocked(self._line, None, None)
        self._metrics.set("up", 0)
        self._timers.stop_all_but("finish")
        self._tell()
        self._flow.lost()
        if connection is not None and connection.is_open:
            # A peer that answers ends it politely; with one that does not, pika ends it when heartbeats are missed.
            # One that is not open yet ends by itself at its limit; to close it is an error inside of pika 1.4.
            connection.close()

    # publishing

    def _may_publish(self) -> bool:
        return (
            self._channel is not None and not self._blocked and "pause" not in self._timers and self._finished is None
        )

    def _soon(self) -> None:
        """Publish at the end of this turn of the loop, when all that came with the same data is settled."""
        if "publish" not in self._timers:
            self._timers.start("publish", 0, self._pump)

    def _pump(self) -> None:
        """Publish what may be published now; files are seen to a turn later, when that is on its way.

        The broker would have nothing to do meanwhile, and would be waited for afterwards.
        """
        if self._may_publish():
            frames: list[bytes] = []
            record = self._flow.take(self._tag + 1)
            while record is not None:
                frames += self._frames(record)
                record = self._flow.take(self._tag + 1)
            self._send(frames)
            self._watch()
        if "files" not in self._timers:
            self._timers.start("files", 0, self._see_to_files)

    def _see_to_files(self) -> None:
        """Have those removed that are confirmed, and the next ones read."""
        self._tell()
        room = self._flow.room
        if room and self._may_publish():
            found = self._source.records(room, self._flow.room_in_bytes)
            if found:
                self._flow.offer(found)
                self._pump()

    def _tell(self) -> None:
        confirmed, self._confirmed = self._confirmed, []
        if confirmed:
            self._source.confirmed(confirmed)

    def _frames(self, record: Record) -> list[bytes]:
        """Return *record* as what is to be sent, counted as sent."""
        if self._flow.unsettled == 1:
            self._progress_at = time.monotonic()
        self._tag += 1
        self._metrics.counters["published"] += 1
        return self._messages.of(record)

    def _send(self, frames: Sequence[bytes]) -> None:
        assert self._connection is not None  # noqa: S101 - there is no channel without one
        self._connection.send(frames)

    def _settled(self, line: int, frame: pika.frame.Method[Basic.Ack | Basic.Nack]) -> None:
        if line != self._line:
            return
        method = frame.method
        self._progress_at = time.monotonic()
        settled = self._flow.settle(method.delivery_tag, multiple=method.multiple, ack=isinstance(method, Basic.Ack))
        if settled.confirmed:
            self._failures = self._nacks = 0
            self._metrics.counters["confirmed"] += len(settled.confirmed)
            self._confirmed += settled.confirmed
        if settled.nacked:
            self._nacks += 1
            self._trouble("broker nacked records", "nacked", settled.nacked)
        if settled.returned:
            self._trouble("broker cannot route records", "returned", settled.returned)
        if self._finished is not None and not self._flow.unsettled:
            self._leave()
        self._soon()

    def _trouble(self, sentence: str, kind: str, records: Sequence[Record]) -> None:
        self._metrics.count(kind, len(records))
        self._pause(sentence, {"records": len(records), "first": records[0].id, "key": records[0].key})

    def _pause(self, sentence: str, facts: dict[str, object]) -> None:
        """Publish nothing for a while, longer each time until something is confirmed."""
        delay = self._delay(max(1, self._flow.streak))
        log.warning(sentence, extra={"broker": repr(self.broker), **facts, "delay": round(delay, 3)})
        self._timers.start("pause", delay, self._resume)

    def _resume(self) -> None:
        self._timers.stop("pause")
        if self._channel is None:
            self._timers.start("setup", self._settings.progress_limit.total_seconds(), self._no_progress)
            self._open_channel()
        elif self._nacks >= _NACKS_UNTIL_NEW_CHANNEL and self._channel.is_open:
            self._nacks = 0
            channel, self._channel = self._channel, None
            self._timers.start("setup", self._settings.progress_limit.total_seconds(), self._no_progress)
            channel.close()
        else:
            self._soon()

    def _on_returned(self, line: int, _: object, __: object, properties: BasicProperties, ___: bytes) -> None:
        if line == self._line and properties.message_id is not None:
            self._flow.returned(properties.message_id)

    def _channel_closed(self, line: int, _: object, reason: BaseException) -> None:
        if line != self._line:
            return
        if isinstance(reason, pika.exceptions.ChannelClosedByClient):
            self._flow.lost()
            self._open_channel()
        elif isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            self._channel = None
            self._metrics.count("refused")
            hopeless = self._flow.refused(final=reason.reply_code != _NOT_FOUND)
            missing = reason.reply_code == _NOT_FOUND
            self._pause(
                "broker has no exchange for records" if missing else "broker refused a record",
                {"reason": told(reason), "user": self.broker.user},
            )
            for record in hopeless:
                self._metrics.count("given_up")
                self._source.hopeless(record, f"the broker refused it, and took others: {told(reason)}")
        # else the connection is gone, and says so itself

    # watching

    def _on_blocked(self, line: int, _: object, frame: pika.frame.Method[pika.spec.Connection.Blocked]) -> None:
        if line == self._line:
            self._blocked = True
            self._metrics.set("blocked", 1)
            log.warning("broker is blocked", extra={"broker": repr(self.broker), "reason": str(frame.method.reason)})

    def _on_unblocked(self, line: int, _: object, __: object) -> None:
        if line == self._line and self._blocked:
            self._blocked = False
            self._metrics.set("blocked", 0)
            self._progress_at = time.monotonic()
            log.info("broker is blocked no longer", extra={"broker": repr(self.broker)})
            self._soon()

    def _watch(self) -> None:
        """See to it that silence is noticed: of the broker while it owes confirms, of the source otherwise."""
        if self._flow.unsettled:
            self._timers.stop("linger")
            if "progress" not in self._timers:
                self._timers.start("progress", self._settings.progress_limit.total_seconds(), self._check_progress)
        elif self._settings.linger and not self._flow.waiting and "linger" not in self._timers:
            self._timers.start("linger", self._settings.linger.total_seconds(), self._rest)

    def _check_progress(self) -> None:
        self._timers.stop("progress")
        limit = self._settings.progress_limit.total_seconds()
        left = limit if self._blocked else self._progress_at + limit - time.monotonic()
        if not self._flow.unsettled:
            self._watch()
        elif left > 0:
            self._timers.start("progress", left, self._check_progress)
        else:
            self._no_progress()

    def _rest(self) -> None:
        if not self._flow.unsettled and not self._flow.waiting:
            log.info("idle connection dropped", extra={"broker": repr(self.broker)})
            self._drop()

    def _leave(self) -> None:
        if self._finished is not None and not self._left:
            self._left = True
            self._drop()
            # The broker's answer to our goodbye is not worth waiting for longer than this.
            self._timers.start("finish", 0.2, self._finished)

    def _delay(self, attempt: int) -> float:
        longest = self._settings.longest_delay.total_seconds()
        return jittered(attempt, first=_FIRST_DELAY, longest=longest, chance=self._chance)
