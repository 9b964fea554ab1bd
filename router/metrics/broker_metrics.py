"""The metrics of a program's connection to the broker, and of the queues that it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..broker.topology import queue_of
from ..errors import BrokerError, QueuesDown
from .exposition import Metric, Scrape, Values
from .probe import Answered

if TYPE_CHECKING:
    from ..broker.amqp.requests import Facts
    from ..broker.client import Rabbit

CONNECTED = Metric(
    "broker_connected", "gauge", "1 while the program has its connections to the broker and consumes all its queues."
)
BLOCKED = Metric("broker_blocked", "gauge", "1 while the broker accepts no messages because it is short of a resource.")
NACKS = Metric("broker_nacks", "counter", "Messages that the broker refused for now (nacks), each time.")
UNCONFIRMED = Metric("broker_unconfirmed_messages", "gauge", "Messages that the broker has not confirmed yet.")
MESSAGES = Metric("queue_messages", "gauge", "Messages of a queue that wait for a consumer.", ("queue", "subscription"))
CONSUMERS = Metric(
    "queue_consumers", "gauge", "Consumers of a queue, without those that stand by.", ("queue", "subscription")
)
METRICS = (CONNECTED, BLOCKED, NACKS, UNCONFIRMED, MESSAGES, CONSUMERS)

_OF_SUBSCRIPTIONS = queue_of("")


def look_at_connection(broker: Rabbit) -> Values:
    """Return what is known of the connection of *broker* now; to be called in its thread."""
    state, nacks, unconfirmed = broker.connection, broker.outbox.nacks, len(broker.outbox)

    def add(scrape: Scrape) -> None:
        scrape.add(CONNECTED, not state.problem and not state.unread)
        scrape.add(BLOCKED, bool(state.blocked))
        scrape.add(NACKS, nacks)
        scrape.add(UNCONFIRMED, unconfirmed)

    return add


@dataclass(frozen=True, slots=True)
class Queues:
    """What the broker says of queues; *missing* do not exist, or it cannot reach them."""

    facts: Mapping[str, Facts]
    missing: Sequence[str] = ()

    def add_to(self, scrape: Scrape) -> None:
        """Add to *scrape* how many messages and consumers each has."""
        for queue, each in self.facts.items():
            is_of_subscription = queue.startswith(_OF_SUBSCRIPTIONS)
            labels = (queue, queue.removeprefix(_OF_SUBSCRIPTIONS) if is_of_subscription else "")
            scrape.add(MESSAGES, each.messages, *labels)
            scrape.add(CONSUMERS, each.consumers, *labels)


def ask_queues(broker: Rabbit, queues: Callable[[], Sequence[str]]) -> Callable[[Answered[Queues]], None]:
    """Return a function that asks *broker* about *queues*, one after another, and answers with all."""

    def ask(answered: Answered[Queues]) -> None:
        facts: dict[str, Facts] = {}
        missing: list[str] = []

        def ask_next(left: Sequence[str]) -> None:
            if not left:
                answered(Queues(facts, missing))
                return
            queue = left[0]

            def take(answer: Facts | BrokerError | None) -> None:
                if answer is None or isinstance(answer, QueuesDown):
                    missing.append(queue)
                elif isinstance(answer, BrokerError):
                    answered(answer)
                    return
                else:
                    facts[queue] = answer
                ask_next(left[1:])

            broker.questions_of_consumer.inspect(queue, take)

        broker.call(lambda: ask_next(queues()))

    return ask
