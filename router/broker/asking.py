"""To ask the broker one thing about one queue, over a channel that is thrown away: what it won't answer closes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..errors import BrokerError, Refused, Unreachable
from .amqp import Answered, Channel, Connection, code_of, text_of

Answer = TypeVar("Answer")
Ask = Callable[[Channel, Answered], None]
"""Sends the question over a channel; the answer goes to the function."""

Told = Callable[[object], None]
"""Takes the broker's answer: a method frame, None where there is no such thing, or a BrokerError."""

_ABSENT = 404


@dataclass(frozen=True, slots=True)
class Facts:
    """What a queue holds, and how many consume it."""

    messages: int
    consumers: int


class Counts(Protocol):
    """What the broker answers, as far as the question had a number for an answer."""

    message_count: int
    consumer_count: int


class Questions:
    """The questions that wait for a connection, and those that are asked."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        """Begin with none; what a function that is told raises goes to *failed*."""
        self._failed = failed
        self._connection: Connection | None = None
        self._waiting: list[Callable[[Connection], None]] = []

    def over(self, connection: Connection | None) -> None:
        """Ask over *connection* from now on, or nothing for want of one."""
        self._connection = connection
        self._ask_all()

    def when_ready(self, function: Callable[[], None]) -> None:
        """Have *function* called once there is a connection, over which all is declared."""

        def called(_connection: Connection) -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - pika would take it for a broken connection
                self._failed(error)

        self._waiting.append(called)
        self._ask_all()

    def inspect(self, queue: str, told: Callable[[Facts | BrokerError | None], None]) -> None:
        """Tell what *queue* holds; None where there is none."""
        self._put(
            queue,
            lambda channel, answered: channel.queue_declare(queue, passive=True, callback=answered),
            told,
            lambda method: Facts(method.message_count, method.consumer_count),
        )

    def purge(self, queue: str, told: Callable[[int | BrokerError | None], None]) -> None:
        """Forget all that is ready in *queue*."""
        self._put(
            queue,
            lambda channel, answered: channel.queue_purge(queue, callback=answered),
            told,
            lambda method: method.message_count,
        )

    def delete(self, queue: str, told: Callable[[int | BrokerError | None], None]) -> None:
        """Delete *queue* and all in it."""
        self._put(
            queue,
            lambda channel, answered: channel.queue_delete(queue, callback=answered),
            told,
            lambda method: method.message_count,
        )

    def _put(
        self,
        queue: str,
        ask: Ask,
        told: Callable[[Answer | BrokerError | None], None],
        understand: Callable[[Counts], Answer],
    ) -> None:
        def tell(answer: object) -> None:
            method: Counts | None = getattr(answer, "method", None)
            try:
                told(understand(method) if method else answer)  # type: ignore[arg-type]  # else an error or None
            except BaseException as error:  # noqa: BLE001 - pika would take it for a broken connection
                self._failed(error)

        self._waiting.append(lambda connection: Question(connection, f"queue {queue!r}", ask, tell).ask())
        self._ask_all()

    def _ask_all(self) -> None:
        while self._waiting and self._connection is not None and self._connection.is_open:
            self._waiting.pop(0)(self._connection)


class Question:
    """One question; *told* is called exactly once."""

    def __init__(self, connection: Connection, what: str, ask: Ask, told: Told) -> None:
        """Mean to ask over *connection*; *what* names the thing in errors."""
        self._connection, self._what, self._send, self._told = connection, what, ask, told
        self._channel: Channel | None = None

    def ask(self) -> None:
        """Ask it."""
        self._channel = self._connection.channel(on_open_callback=lambda channel: self._send(channel, self._answered))
        self._channel.add_on_close_callback(self._closed)

    def _answered(self, frame: object) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
            self._told(frame)

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        code = code_of(reason)
        error: type[BrokerError] = Refused if code else Unreachable
        self._told(None if code == _ABSENT else error(f"{self._what}: {text_of(reason)}"))
