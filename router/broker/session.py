"""RabbitMQ for a command: a few things done one after the other, each waited for, each failing in bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from ..errors import BrokerError, Unreachable
from . import Message, Settlement
from .asking import Facts
from .rabbit import Rabbit
from .topology import Topology

Answer = TypeVar("Answer")


class Session:
    """A connection for as long as the `with` block; each method raises Unreachable or Refused.

    with Session(url, name="clusterbus broker setup") as session:
        session.declare(base())
    """

    def __init__(self, urls: str | Sequence[str], *, name: str, limit: timedelta = timedelta(seconds=15)) -> None:
        """Speak to one of the brokers at *urls* as the program *name*; nothing takes longer than *limit*."""
        self._rabbit = Rabbit(urls, name=name, give_up=limit, progress_limit=limit)
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
        failure: BaseException = BrokerError("the session is over")
        try:
            self._rabbit.run()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that asked
            failure = error
        with self._lock:
            self._failure = failure
            for future in self._pending:
                future.set_exception(failure)

    def _ask(self, start: Callable[[Callable[[Answer], None]], None]) -> Answer:
        future: Future[Answer] = Future()

        def told(answer: Answer) -> None:
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
        self._rabbit.call(lambda: start(told))
        try:
            return future.result(self._limit.total_seconds() * 2)
        except TooLong:
            # Twice: `run` has its own limit, and knows better what was the matter.
            raise Unreachable(f"the broker did not answer within {self._limit.total_seconds():g} s") from None

    def declare(self, topology: Topology) -> None:
        """Have *topology* there."""

        def start(told: Callable[[None], None]) -> None:
            self._rabbit.declare(topology)
            self._rabbit.questions.when_ready(lambda: told(None))

        self._ask(start)

    def publish(self, messages: Iterable[Message]) -> list[Settlement]:
        """Publish *messages* and return what became of each, in their order."""
        wanted = list(messages)
        settlements: dict[int, Settlement] = {}

        def start(told: Callable[[None], None]) -> None:
            def settled(at: int, settlement: Settlement) -> None:
                settlements[at] = settlement
                if len(settlements) == len(wanted):
                    told(None)

            for at, message in enumerate(wanted):
                self._rabbit.publish(message, lambda settlement, at=at: settled(at, settlement))  # type: ignore[misc]

        if wanted:
            self._ask(start)
        return [settlements[at] for at in range(len(wanted))]

    def queue_facts(self, queue: str) -> Facts | None:
        """Return what *queue* holds, or None where there is none."""
        return self._ask(lambda told: self._rabbit.questions.inspect(queue, told))  # type: ignore[arg-type]  # errors are raised

    def purge(self, queue: str) -> int | None:
        """Forget all that is ready in *queue*; return how many that were, or None where there is no queue."""
        return self._ask(lambda told: self._rabbit.questions.purge(queue, told))  # type: ignore[arg-type]  # errors are raised

    def delete(self, queue: str) -> int | None:
        """Delete *queue* and all in it; return how many messages that were: none where there is no queue."""
        return self._ask(lambda told: self._rabbit.questions.delete(queue, told))  # type: ignore[arg-type]  # errors are raised
