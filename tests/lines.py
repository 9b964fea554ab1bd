"""A line to RabbitMQ for a test: it runs in a thread, publishes, consumes, and remembers what became of all."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from router.broker.client import Rabbit
from router.broker.interface import Arrival, Message, Settlement
from router.broker.topology import Binding, Exchange, Queue, Topology
from tests.waiting import wait_for

QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 20}


def bus(*queues: str, **more: Any) -> Topology:
    """Return an exchange `bus` and *queues* that get all of it."""
    arguments = {f"x-{name.replace('_', '-')}": value for name, value in more.items()}
    return Topology(
        exchanges=(Exchange("bus", "topic"),),
        queues=tuple(Queue(each, QUORUM | arguments) for each in queues),
        bindings=tuple(Binding("bus", each, "#") for each in queues),
    )


class Running:
    """A `Rabbit` that runs, within a `with` block; leaving it stops it, and checks that it ends."""

    def __init__(self, urls: str | Sequence[str], **options: Any) -> None:
        self.rabbit = Rabbit(urls, **({"name": "test", "longest_pause": timedelta(milliseconds=300)} | options))
        self.settlements: dict[str, list[Settlement]] = {}
        self.arrivals: list[Arrival] = []
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.rabbit.run()
        except BaseException as error:  # noqa: BLE001 - shown to the test
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop it, as a signal would."""
        self.rabbit.call(self.rabbit.stop)
        self._thread.join(120)
        assert not self._thread.is_alive(), "run did not return"

    @property
    def is_pausing(self) -> bool:
        """Whether the broker refused messages, and nothing is under way until they are sent again."""
        return self.rabbit._publisher._pausing is not None

    @property
    def ended(self) -> bool:
        """Whether `run` has returned or raised."""
        return not self._thread.is_alive()

    def do(self, function: Callable[[], Any]) -> None:
        """Have *function* called by the line, and wait for it."""
        done: Future[Any] = Future()

        def called() -> None:
            try:
                done.set_result(function())
            except Exception as error:  # noqa: BLE001 - raised in the test
                done.set_exception(error)

        self.rabbit.call(called)
        done.result(120)

    def publish(self, *names: str, exchange: str = "bus", **more: Any) -> None:
        """Publish a message for each of *names*, which is its id and its key."""

        def start() -> None:
            for name in names:
                settled = self.settlements.setdefault(name, [])
                message = Message(
                    exchange,
                    more.get("key", name),
                    more.get("body", name.encode()),
                    name,
                    headers=more.get("headers", {}),
                    again=more.get("again", True),
                )
                self.rabbit.publish(message, settled.append)

        self.do(start)

    def consume(self, queue: str, *, prefetch: int = 100, ack: bool = True) -> None:
        """Consume *queue*; with *ack* each arrival is acknowledged."""

        def receive(arrival: Arrival) -> None:
            self.arrivals.append(arrival)
            if ack:
                self.rabbit.ack(arrival)

        self.do(lambda: self.rabbit.consume(queue, receive, prefetch=prefetch))

    def declare(self, topology: Topology) -> None:
        """Have *topology* there; returns when it is."""
        ready = threading.Event()
        self.do(lambda: (self.rabbit.declare(topology), self.rabbit.questions.when_ready(ready.set)))
        assert ready.wait(120), "not declared"

    def wait_settled(self, count: int, limit: float = 15) -> None:
        """Wait until *count* messages are settled."""
        wait_for(lambda: self.settled >= count, limit, f"{count} settlements, of {len(self.settlements)}")

    @property
    def settled(self) -> int:
        """How many messages are settled."""
        return sum(bool(each) for each in list(self.settlements.values()))

    @property
    def ids(self) -> list[str]:
        """The ids of what arrived, each once, in the order of their first arrival."""
        return list(dict.fromkeys(arrival.id for arrival in list(self.arrivals)))

    def assert_each_settled_once(self) -> None:
        """Check that no message was settled twice or never, and all were confirmed."""
        assert Counter(len(each) for each in self.settlements.values()) == {1: len(self.settlements)}
        assert {each[0] for each in self.settlements.values()} == {Settlement.CONFIRMED}
