"""RabbitMQ for a command: a few requests one after another; each waits for its answer, and each has a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from ..errors import BrokerError, QueuesDown, Unreachable
from .amqp.requests import Facts, Head
from .client import Rabbit
from .declaration_steps import steps
from .differences import Unlike
from .interface import Arrival, Message, Settlement
from .topology import Binding, Queue, Topology

Answer = TypeVar("Answer")


class Session:
    """A connection that lasts as long as its `with` block; each method raises Unreachable or Refused.

    with Session(url, name="clusterbus broker setup") as session:
        session.declare(base())
    """

    def __init__(self, urls: str | Sequence[str], *, name: str, limit: timedelta = timedelta(seconds=15)) -> None:
        """Use one of the brokers at *urls* as the program *name*; the connection fails after *limit*."""
        # `publish` has waited already: what is not confirmed then is not waited for again.
        self._rabbit = Rabbit(urls, name=name, give_up=limit, progress_limit=limit, flush_limit=timedelta())
        self._limit = limit
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        """Connect."""
        self._thread.start()
        try:
            self.declare(Topology())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._rabbit.call(self._rabbit.stop)
        self._thread.join()

    def _run(self) -> None:
        failure: BaseException = BrokerError("the session with the broker has ended")
        try:
            self._rabbit.run()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            failure = error
        with self._lock:
            self._failure = failure
            for future in self._pending:
                future.set_exception(failure)

    def _ask(self, start: Callable[[Callable[[Answer], None]], None], limit: timedelta | None = None) -> Answer:
        future: Future[Answer] = Future()

        def answered(answer: Answer) -> None:
            with self._lock:
                self._pending.discard(future)
            if isinstance(answer, BrokerError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        with self._lock:
            if self._failure:
                raise self._failure
            self._pending.add(future)
        self._rabbit.call(lambda: start(answered))
        try:
            # Twice the limit: `run` has its own limit, and its error is more precise.
            return future.result((limit or self._limit * 2).total_seconds())
        except TooLong:
            raise Unreachable(
                f"the broker did not answer within {(limit or self._limit).total_seconds():g} s"
            ) from None

    def declare(self, topology: Topology) -> set[str]:
        """Declare *topology*; return the names of the queues and exchanges that our user may not declare or bind to."""

        def start(answered: Callable[[None], None]) -> None:
            self._rabbit.declare(topology)
            self._rabbit.questions.when_ready(lambda: answered(None))

        self._ask(start)
        denials = self._rabbit.denials
        denied = [each.thing for each in steps(topology) if str(each) in denials.declare | denials.ask]
        return {each.exchange if isinstance(each, Binding) else each.name for each in denied}

    def publish(self, messages: Iterable[Message], *, limit: timedelta | None = None) -> list[Settlement]:
        """Publish *messages* and return how each was settled, in the same order.

        Raises Unreachable if they are not settled within *limit*, by default that of the session; the error says
        whether the broker blocks publishing.  The broker may still take them later.
        """
        wanted = list(messages)
        settlements: dict[int, Settlement] = {}

        def start(answered: Callable[[None], None]) -> None:
            def settled(at: int, settlement: Settlement) -> None:
                settlements[at] = settlement
                if len(settlements) == len(wanted):
                    answered(None)

            for at, message in enumerate(wanted):
                self._rabbit.publish(message, lambda settlement, at=at: settled(at, settlement))  # type: ignore[misc]

        if wanted:
            limit = limit or self._limit
            try:
                self._ask(start, limit)
            except Unreachable as error:
                if not self._failure:
                    raise Unreachable(self._unsettled(limit)) from error
                raise
        return [settlements[at] for at in range(len(wanted))]

    def _unsettled(self, limit: timedelta) -> str:
        within = f"within {limit.total_seconds():g} s"
        if reason := self._rabbit.connection.blocked:
            return f"the broker blocks publishing ({reason}): it confirmed nothing {within}, and may still do so later"
        return f"the broker confirmed nothing {within}, and may still do so later"

    def receive(self, queue: str, count: int, *, limit: timedelta) -> list[Arrival]:
        """Take *count* messages from *queue*; return those that arrive within *limit*."""
        found: list[Arrival] = []

        def start(answered: Callable[[None], None]) -> None:
            def arrived(arrival: Arrival) -> None:
                found.append(arrival)
                self._rabbit.ack(arrival)
                if len(found) == count:
                    answered(None)

            self._rabbit.consume(queue, arrived, prefetch=count)

        with suppress(Unreachable):
            self._ask(start, limit)
        self._rabbit.call(lambda: self._rabbit.cancel(queue))
        return [*found]

    def queue_facts(self, queue: str) -> Facts | None:
        """Return the facts of *queue*, or None if it does not exist."""
        return self._ask(lambda answered: self._rabbit.questions.inspect(queue, answered))  # type: ignore[arg-type]  # errors are raised

    def known_facts(self, queues: Iterable[str]) -> tuple[dict[str, Facts | None], str]:
        """Return the facts of *queues* as `queue_facts` does; without those that the broker cannot reach, and which."""
        known: dict[str, Facts | None] = {}
        lost: list[str] = []
        for queue in queues:
            try:
                known[queue] = self.queue_facts(queue)
            except QueuesDown:
                lost.append(queue)
        return known, f"the broker cannot reach {', '.join(lost)}" if lost else ""

    def compare(self, queue: Queue) -> Unlike | None:
        """Return how *queue*, which exists, differs at the broker; None if it does not.  Raises Denied, QueuesDown."""
        return self._ask(lambda answered: self._rabbit.questions.compare(queue, answered))  # type: ignore[arg-type]  # errors are raised

    def head(self, queue: str) -> Head | None:
        """Return the first message of *queue*, which stays there; None without one.  See `Questions.head`."""
        return self._ask(lambda answered: self._rabbit.questions.head(queue, answered))  # type: ignore[arg-type]  # errors are raised

    def delete_exchange(self, exchange: str) -> None:
        """Delete *exchange* with its bindings, if it exists."""
        self._ask(lambda answered: self._rabbit.questions.delete_exchange(exchange, answered))  # type: ignore[arg-type]  # errors are raised

    def delete(self, queue: str) -> int | None:
        """Delete *queue* with its messages; return how many messages it had, 0 if the queue does not exist."""
        return self._ask(lambda answered: self._rabbit.questions.delete(queue, answered))  # type: ignore[arg-type]  # errors are raised
