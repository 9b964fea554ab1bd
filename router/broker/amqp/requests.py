"""Asks the broker about one queue or exchange, over a channel of its own: an error closes the channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import BrokerError, Denied, QueuesDown, Refused, Unreachable
from ..differences import Difference, Unlike, as_there, is_of_earlier_release, learn, unlike
from ..topology import Queue
from .pika_types import Answered, Channel, Connection, code_of, is_down, shown, text_of

Answer = TypeVar("Answer")
Ask = Callable[[Channel, Answered], None]
"""Sends the question over a channel; the function gets the answer."""

OnAnswer = Callable[[object], None]
"""Gets the broker's answer: a method frame, None if the queue does not exist, or a BrokerError."""

_ABSENT, _DENIED = 404, 403


@dataclass(frozen=True, slots=True)
class Facts:
    """The number of ready messages and of consumers of a queue."""

    messages: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Head:
    """The first message of a queue, which is still there."""

    id: str
    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Got:
    """An answer whose *method* is the message: the others have a method frame there."""

    method: Head


class Questions:
    """Asks questions, now or when there is a connection."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        """Begin without questions; *failed* gets what a function that receives an answer raises."""
        self._failed = failed
        self._connection: Connection | None = None
        self._waiting: list[Callable[[Connection], None]] = []

    def over(self, connection: Connection | None) -> None:
        """Ask over *connection* from now on; with None, wait for the next one."""
        self._connection = connection
        self._ask_all()

    def when_ready(self, function: Callable[[], None]) -> None:
        """Call *function* when there is a connection over which the topology is declared."""

        def called(_connection: Connection) -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - pika would treat it as a broken connection
                self._failed(error)

        self._waiting.append(called)
        self._ask_all()

    def inspect(self, queue: str, on_answer: Callable[[Facts | BrokerError | None], None]) -> None:
        """Call *on_answer* with the facts of *queue*, with None if it does not exist, or with an error.

        It is QueuesDown where the queue exists, but the broker cannot reach it.
        """
        self._put(
            "queue",
            queue,
            lambda channel, answered: channel.queue_declare(queue, passive=True, callback=answered),
            on_answer,
            lambda method: Facts(method.message_count, method.consumer_count),
        )

    def compare(self, queue: Queue, on_answer: Callable[[Unlike | BrokerError | None], None]) -> None:
        """Call *on_answer* with how *queue*, which exists, differs at the broker; None if it does not, or an error.

        It is declared, which changes nothing where it exists.
        """
        found: list[Difference] = []

        def ask() -> None:
            arguments, flags = as_there(queue, found)
            self._put(
                "queue",
                queue.name,
                lambda channel, answered: channel.queue_declare(
                    queue.name, arguments=arguments, callback=answered, **flags
                ),
                take,
                lambda _: True,
            )

        def take(answer: bool | BrokerError | None) -> None:  # noqa: FBT001 - True where it is as we asked
            if isinstance(answer, Refused) and not isinstance(answer, Denied):
                if learn(str(answer), queue, found):
                    ask()
                else:
                    on_answer(unlike(queue, (), str(answer)))
            elif isinstance(answer, BrokerError):
                on_answer(answer)
            else:
                on_answer(None if is_of_earlier_release(queue, found) else unlike(queue, found, ""))

        ask()

    def head(self, queue: str, on_answer: Callable[[Head | BrokerError | None], None]) -> None:
        """Call *on_answer* with the first message of *queue*, None without one, or an error.

        The message stays where it is; RabbitMQ counts that as a delivery, so the queue must have no delivery limit.
        """

        def ask(channel: Channel, answered: Answered) -> None:
            channel.add_callback(lambda _: answered(None), ["Basic.GetEmpty"])
            # Not acknowledged: it is back in the queue when the channel closes.
            channel.basic_get(
                queue,
                lambda _, deliver, properties, body: answered(
                    _Got(Head(shown(properties.message_id), shown(deliver.routing_key), body))
                ),
            )

        self._put("queue", queue, ask, on_answer, lambda found: found)

    def delete(self, queue: str, on_answer: Callable[[int | BrokerError | None], None]) -> None:
        """Delete *queue* with its messages; *on_answer* gets their number."""
        self._put(
            "queue",
            queue,
            lambda channel, answered: channel.queue_delete(queue, callback=answered),
            on_answer,
            lambda method: method.message_count,
        )

    def delete_exchange(self, exchange: str, on_answer: Callable[[int | BrokerError | None], None]) -> None:
        """Delete *exchange* with its bindings; *on_answer* gets 0, also if it does not exist."""
        self._put(
            "exchange",
            exchange,
            lambda channel, answered: channel.exchange_delete(exchange, callback=answered),
            on_answer,
            lambda _: 0,
        )

    def _put(
        self,
        kind: str,
        name: str,
        ask: Ask,
        on_answer: Callable[[Answer | BrokerError | None], None],
        understand: Callable[[Any], Answer],
    ) -> None:
        def tell(answer: object) -> None:
            method: Any = getattr(answer, "method", None)
            try:
                on_answer(understand(method) if method else answer)  # type: ignore[arg-type]  # else an error or None
            except BaseException as error:  # noqa: BLE001 - pika would treat it as a broken connection
                self._failed(error)

        self._waiting.append(lambda connection: Question(connection, kind, name, ask, tell).ask())
        self._ask_all()

    def _ask_all(self) -> None:
        while self._waiting and self._connection is not None and self._connection.is_open:
            self._waiting.pop(0)(self._connection)


class Question:
    """One question; *on_answer* is called exactly once."""

    def __init__(self, connection: Connection, kind: str, name: str, ask: Ask, on_answer: OnAnswer) -> None:
        """Prepare a question over *connection*; *kind* and *name* are those of its object."""
        self._connection, self._kind, self._name, self._send, self._on_answer = connection, kind, name, ask, on_answer
        self._channel: Channel | None = None

    def ask(self) -> None:
        """Send the question."""
        self._channel = self._connection.channel(on_open_callback=lambda channel: self._send(channel, self._answered))
        self._channel.add_on_close_callback(self._closed)

    def _answered(self, frame: object) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            if channel.is_open:  # else the whole connection closes just now
                channel.close()
            self._on_answer(frame)

    def _closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        code, text = code_of(reason), text_of(reason)
        if is_down(code, text):
            self._on_answer(QueuesDown({self._name: text}))
            return
        error: type[BrokerError] = (Denied if code == _DENIED else Refused) if code else Unreachable
        self._on_answer(None if code == _ABSENT else error(f"{self._kind} {self._name!r}: {text}"))
