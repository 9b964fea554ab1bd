"""Notices when the newest message of a stream was read, however slow the broker is.

RabbitMQ does not say where a stream ends.  A reader is at the end if nothing arrives while the broker answers questions
over the same connection: what is slow or hangs delays the answers as well.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from ..errors import BrokerError, Unreachable
from .amqp.pika_types import Later
from .amqp.requests import Facts, Questions

_QUIET = timedelta(seconds=1)
"""How long nothing arrives before a question is asked."""

_ANSWERS = 2
"""How many questions must be answered while nothing arrives: a consumer takes more steps to begin than one question."""


class Reader(Protocol):
    """What consumes the stream: it calls functions later, and asks about queues over the same connection."""

    questions_of_consumer: Questions

    @property
    def later(self) -> Later:
        """Calls a function after a delay; returns a function that cancels the call."""


class StreamEnd:
    """Calls a function when the newest message of a stream was read."""

    def __init__(self, broker: Reader, queue: str, ended: Callable[[], None], *, limit: timedelta) -> None:
        """Call *ended* when the newest message of *queue*, which *broker* consumes, was read.

        `run` of *broker* raises Unreachable if nothing arrives and no question is answered for *limit*.
        """
        self._broker, self._queue, self._ended, self._limit = broker, queue, ended, limit
        self._arrived = self._seen = self._answers = 0
        # Later than the client itself gives up, whose error has the reason.
        self._forget = broker.later(limit + _QUIET, self._give_up)
        broker.questions_of_consumer.when_ready(self._wait)

    def again(self) -> None:
        """Note that a message has arrived."""
        self._arrived += 1

    def _wait(self) -> None:
        self._forget()
        self._forget = self._broker.later(self._limit + _QUIET, self._give_up)
        self._broker.later(_QUIET, self._ask)

    def _ask(self) -> None:
        self._seen = self._arrived
        self._broker.questions_of_consumer.inspect(self._queue, self._answered)

    def _answered(self, answer: Facts | BrokerError | None) -> None:
        is_quiet = self._seen == self._arrived and not isinstance(answer, Unreachable)
        self._answers = self._answers + 1 if is_quiet else 0
        if self._answers < _ANSWERS:
            self._wait()
        else:
            self._forget()
            self._ended()

    def _give_up(self) -> None:
        if self._seen != self._arrived:
            # Messages arrive, more slowly than the answer to a question would.
            self._seen = self._arrived
            self._forget = self._broker.later(self._limit, self._give_up)
            return
        seconds = self._limit.total_seconds()
        raise Unreachable(f"the broker did not send all of {self._queue}: nothing came for {seconds:g} s")
