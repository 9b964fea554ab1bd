"""Publishes records to the broker, receives its confirms, and retries after every failure.

Has one connection at a time, to one of several brokers, which it tries in turn.  The spool keeps each record until
the broker confirms it.  Each kind of failure has its own log sentence and its own counter.
"""

from __future__ import annotations

import logging
import random
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Callable, Protocol

import pika
import pika.exceptions
from pika.spec import Basic, BasicProperties

from .connection import SILENT, Connection, IOLoop, Messages, Services, cause, describe, diagnosis, parameters
from .send_queue import SendQueue, jittered
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .broker_urls import Broker
    from .metrics import Metrics
    from .records import Record
    from .settings import Settings

log = logging.getLogger("clusterbus.relay.publisher")

EXCHANGE = "clusterbus.ingress"
_FIRST_DELAY = 0.5
_NACKS_UNTIL_NEW_CHANNEL = 3  # RabbitMQ 3.10 may nack everything on a channel after its queue's leader died
_STEADY = 60.0  # seconds: a connection that lasted this long resets the count of failures
_NOT_FOUND, _PRECONDITION_FAILED = 404, 406
_TOO_LARGE = re.compile(r"message size ([0-9]{1,18}) is larger than configured max size")


class Source(Protocol):
    """Gives records to publish, and receives the outcome of each."""

    @property
    def epoch(self) -> str:
        """The id of the spool's life."""

    @property
    def following(self) -> int:
        """The sequence number that the next new record gets."""

    def records(self, count: int, size: int) -> Sequence[Record]:
        """Return the next records, about *count* of them and *size* bytes; empty if there are none now."""

    def confirmed(self, records: Sequence[Record]) -> None:
        """Handle that the broker confirmed *records*."""

    def hopeless(self, record: Record, reason: str) -> None:
        """Handle that the broker will never accept *record*."""

    def standing(self, broker: str, problem: str) -> None:
        """Handle that *broker* takes records from now on, or the *problem* with it."""


class Publisher:
    """Publishes the records of *source*, and retries without limit."""

    def __init__(self, loop: IOLoop, settings: Settings, source: Source, metrics: Metrics) -> None:
        """Do nothing before `wake`; all work runs in the caller's *loop*."""
        self._loop, self._settings, self._source, self._metrics = loop, settings, source, metrics
        self._chance = random.SystemRandom()
        self._brokers = self._chance.sample(settings.brokers, len(settings.brokers))
        self._queue = SendQueue(settings.window)
        self._line = 0  # number of the current connection; callbacks of earlier connections are ignored
        self._connection: Connection | None = None
        self._channel: pika.channel.Channel | None = None
        self._timers = Timers(loop)
        self._turn = self._failures = self._tag = self._nacks = 0
        self._blocked = self._left = False
        self._confirmed: list[Record] = []  # not yet passed to the source
        self._ready_at = self._progress_at = 0.0
        self._finished: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a channel is open to publish on."""
        return self._channel is not None

    @property
    def unsettled(self) -> int:
        """Number of records sent and not yet confirmed."""
        return self._queue.unsettled

    @property
    def broker(self) -> Broker:
        """The current broker."""
        return self._brokers[(self._turn - 1) % len(self._brokers)]

    def wake(self) -> None:
        """Start to publish: the source has records."""
        if self._channel is not None:
            self._soon()
        elif self._connection is None and "retry" not in self._timers and self._finished is None:
            self._connect()

    def publish_unspooled(self, record: Record) -> None:
        """Publish *record*, which is in no spool, if that is possible now; it is never sent again."""
        if self._channel is None or self._blocked or self._finished:
            return
        last = self._queue.last_sent_before(self._source.following)
        if self._queue.send_unspooled(self._tag + 1, record):
            self._send(self._frames(record._replace(sequence=last)))

    def finish(self, within: float, finished: Callable[[], None]) -> None:
        """Send nothing more, wait at most *within* seconds for outstanding confirms, disconnect, call *finished*."""
        if self._finished is None:
            self._finished = finished
            self._timers.start("finish", within, self._leave)
            if self._channel is None or not self._queue.unsettled:
                self._leave()

    # connecting

    def _connect(self) -> None:
        self._turn += 1
        self._line += 1
        line = self._line
        try:
            how = parameters(self.broker, self._settings)
        except (OSError, ValueError) as error:
            self._down("cannot read password or certificate", "insecure", str(error))
            return
        self._connection = Connection(
            how,
            on_open_callback=partial(self._opened, line),
            on_open_error_callback=partial(self._not_opened, line),
            on_close_callback=partial(self._lost, line),
            custom_ioloop=Services(self._loop),
        )

    def _opened(self, line: int, connection: pika.connection.Connection) -> None:
        if line == self._line:
            # Up to this point pika itself enforces the same limit.  The broker may stop answering at any later step.
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
            self._stand("")
        self._soon()

    def _not_opened(self, line: int, _: object, error: BaseException) -> None:
        if line == self._line:
            self._down(*diagnosis(error), describe(error), cause(error))

    def _lost(self, line: int, _: object, error: BaseException) -> None:
        if line == self._line:
            self._down("broker connection lost", "disconnected", describe(error), cause(error))

    def _no_progress(self) -> None:
        self._down(
            SILENT,
            "stalled",
            f"nothing for {self._settings.progress_limit.total_seconds():g} s, {self._queue.unsettled} unsettled",
        )

    def _stand(self, problem: str) -> None:
        self._source.standing(repr(self.broker), problem)

    def _down(self, sentence: str, kind: str, reason: str, cause: str = "") -> None:
        """Drop this connection, in whatever state it is, and try the next broker after a delay."""
        if self._ready_at and time.monotonic() - self._ready_at > _STEADY:
            self._failures = 0
        self._failures += 1
        attempt = (self._failures - 1) // len(self._brokers) + 1
        delay = self._delay(attempt)
        facts = {"broker": repr(self.broker), "reason": reason, "delay": round(delay, 3)}
        log.warning(sentence, extra={**facts, "unsettled": self._queue.unsettled})
        self._metrics.count(kind)
        self._stand(f"{sentence}: {cause or reason}")
        self._drop()
        if self._finished is not None:
            self._leave()
        else:
            self._timers.start("retry", delay, self._connect)

    def _drop(self) -> None:
        """Drop the connection; unsettled records will be sent again."""
        connection, self._connection, self._channel = self._connection, None, None
        self._line += 1
        self._ready_at = 0.0
        self._blocked = False  # without a log line: the broker did not say so
        self._metrics.set("blocked", 0)
        self._metrics.set("up", 0)
        self._timers.stop_all_but("finish")
        self._pass_on_confirmed()
        self._queue.take_back_all()
        if connection is not None and connection.is_open:
            # If the broker answers, the connection closes in order; otherwise pika ends it after missed heartbeats.
            # A connection that is still opening ends at its time limit; closing it raises an error inside pika 1.4.
            connection.close()

    # publishing

    def _may_publish(self) -> bool:
        return (
            self._channel is not None and not self._blocked and "pause" not in self._timers and self._finished is None
        )

    def _soon(self) -> None:
        """Publish at the end of this turn of the loop, when all confirms that arrived together are handled."""
        if "publish" not in self._timers:
            self._timers.start("publish", 0, self._publish)

    def _publish(self) -> None:
        """Publish all records that may be sent now, and handle files one turn later.

        The other order would leave the broker idle during the file work, and the relay idle afterwards.
        """
        if self._may_publish():
            frames: list[bytes] = []
            record = self._queue.take(self._tag + 1)
            while record is not None:
                frames += self._frames(record)
                record = self._queue.take(self._tag + 1)
            self._send(frames)
            self._watch()
        if "files" not in self._timers:
            self._timers.start("files", 0, self._handle_files)

    def _handle_files(self) -> None:
        """Remove the files of confirmed records, and read the next records."""
        self._pass_on_confirmed()
        room = self._queue.room
        if room and self._may_publish():
            found = self._source.records(room, self._queue.room_in_bytes)
            if found:
                self._queue.offer(found)
                self._publish()

    def _pass_on_confirmed(self) -> None:
        confirmed, self._confirmed = self._confirmed, []
        if confirmed:
            self._source.confirmed(confirmed)

    def _frames(self, record: Record) -> list[bytes]:
        """Return the frames of *record*, and count it as sent."""
        if self._queue.unsettled == 1:
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
        settled = self._queue.settle(method.delivery_tag, multiple=method.multiple, ack=isinstance(method, Basic.Ack))
        if settled.confirmed:
            self._failures = self._nacks = 0
            self._metrics.counters["confirmed"] += len(settled.confirmed)
            self._confirmed += settled.confirmed
            self._stand("")
        if settled.nacked:
            self._nacks += 1
            self._pause_after("broker nacked records", "nacked", settled.nacked)
        if settled.returned:
            self._pause_after("broker cannot route records", "returned", settled.returned)
        if self._finished is not None and not self._queue.unsettled:
            self._leave()
        self._soon()

    def _pause_after(self, sentence: str, kind: str, records: Sequence[Record]) -> None:
        self._metrics.count(kind, len(records))
        self._pause(sentence, {"records": len(records), "first": records[0].id, "key": records[0].key})

    def _pause(self, sentence: str, facts: dict[str, object]) -> None:
        """Pause publishing, longer each time until the broker confirms a record."""
        delay = self._delay(max(1, self._queue.streak))
        log.warning(sentence, extra={"broker": repr(self.broker), **facts, "delay": round(delay, 3)})
        self._stand(f"{sentence}: {facts['reason']}" if "reason" in facts else sentence)
        self._timers.start("pause", delay, self._resume)

    def _resume(self) -> None:
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
            self._queue.returned(properties.message_id)

    def _channel_closed(self, line: int, _: object, reason: BaseException) -> None:
        if line != self._line:
            return
        if isinstance(reason, pika.exceptions.ChannelClosedByClient):
            self._queue.take_back_all()
            self._open_channel()
        elif isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            self._channel = None
            self._metrics.count("refused")
            hopeless = self._queue.refused(final=reason.reply_code != _NOT_FOUND, too_large=_refused_size(reason))
            missing = reason.reply_code == _NOT_FOUND
            self._pause(
                "broker has no exchange for records" if missing else "broker refused a record",
                {"reason": describe(reason), "user": self.broker.user},
            )
            for record in hopeless:
                self._metrics.count("given_up")
                self._source.hopeless(record, f"the broker will not accept it: {describe(reason)}")
        # In all other cases the connection is lost, and its own callback handles that.

    # watching

    def _on_blocked(self, line: int, _: object, frame: pika.frame.Method[pika.spec.Connection.Blocked]) -> None:
        if line == self._line:
            self._blocked = True
            self._metrics.set("blocked", 1)
            log.warning("broker is blocked", extra={"broker": repr(self.broker), "reason": str(frame.method.reason)})
            self._stand(f"broker is blocked: {frame.method.reason}")

    def _on_unblocked(self, line: int, _: object, __: object) -> None:
        if line == self._line and self._blocked:
            self._blocked = False
            self._metrics.set("blocked", 0)
            self._progress_at = time.monotonic()
            log.info("broker is no longer blocked", extra={"broker": repr(self.broker)})
            self._stand("")
            self._soon()

    def _watch(self) -> None:
        """Start a timer: the progress limit while confirms are due, otherwise the idle limit (linger)."""
        if self._queue.unsettled:
            self._timers.stop("linger")
            if "progress" not in self._timers:
                self._timers.start("progress", self._settings.progress_limit.total_seconds(), self._check_progress)
        elif self._settings.linger and not self._queue.waiting and "linger" not in self._timers:
            self._timers.start("linger", self._settings.linger.total_seconds(), self._drop_if_idle)

    def _check_progress(self) -> None:
        limit = self._settings.progress_limit.total_seconds()
        left = limit if self._blocked else self._progress_at + limit - time.monotonic()
        if not self._queue.unsettled:
            self._watch()
        elif left > 0:
            self._timers.start("progress", left, self._check_progress)
        else:
            self._no_progress()

    def _drop_if_idle(self) -> None:
        if not self._queue.unsettled and not self._queue.waiting:
            log.info("idle connection dropped", extra={"broker": repr(self.broker)})
            self._source.standing("", "")
            self._drop()

    def _leave(self) -> None:
        if self._finished is not None and not self._left:
            self._left = True
            self._drop()
            # A longer wait for the broker's answer to the close would gain nothing.
            self._timers.start("finish", 0.2, self._finished)

    def _delay(self, attempt: int) -> float:
        longest = self._settings.longest_delay.total_seconds()
        return jittered(attempt, first=_FIRST_DELAY, longest=longest, chance=self._chance)


def _refused_size(reason: pika.exceptions.ChannelClosedByBroker) -> int | None:
    """Return the size of the record that the broker refused as too large, or None if it refused for another reason."""
    if reason.reply_code != _PRECONDITION_FAILED:
        return None
    found = _TOO_LARGE.search(str(reason.reply_text))
    return int(found[1]) if found else None
