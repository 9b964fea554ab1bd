"""One program's client for RabbitMQ, with two connections: one to publish and one to consume.

A broker that is short of disk or memory stops reading from a connection that publishes; acknowledgements must not
stop with it, so they use the other one.  Both use one event loop, in the thread that runs `run`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from ..errors import SettingsError, Unreachable
from .addresses import Address, Pauses, parse, turns
from .amqp.connections import Line, Work, end_all
from .amqp.consumer import Consumer
from .amqp.consumption import Receive
from .amqp.declarations import Denials
from .amqp.event_loop import Loop
from .amqp.others_publisher import OthersPublisher
from .amqp.pika_connection import UNSENDABLE, Connection, IOLoop, Services, is_denial, parameters, properties
from .amqp.pika_types import Properties
from .amqp.publisher import Publisher
from .amqp.requests import Questions
from .declaration_steps import steps
from .differences import sentences
from .interface import Arrival, ConnectionState, Message
from .outgoing.foreign_queues import SILENCE, ForeignQueues
from .outgoing.outbox import Outbox, Settled
from .topology import Topology

log = logging.getLogger(__name__)

_GOODBYE = timedelta(seconds=1)
"""How long we wait for the broker to answer when we close a connection; then we drop it."""

_PATIENCE = timedelta(seconds=15)
_PATIENCE_TO_CONSUME = timedelta(seconds=5)
"""How long a new connection waits for queues that the broker cannot reach yet: they miss what is published."""

_FIRST_PAUSE = timedelta(milliseconds=500)
_LONGEST_PAUSE = timedelta(seconds=10)


class Rabbit:
    """A `Broker` that uses RabbitMQ.  It runs once: calls after `run` has returned have no effect."""

    def __init__(  # noqa: PLR0913 - each is one setting
        self,
        urls: str | Sequence[str],
        *,
        name: str,
        progress_limit: timedelta = timedelta(seconds=30),
        window: int = 500,
        longest_pause: timedelta = _LONGEST_PAUSE,
        give_up: timedelta | None = None,
        flush_limit: timedelta = timedelta(seconds=5),
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Use one of the brokers at *urls*, whichever answers, as the program *name*; the broker is told its *facts*.

        With *give_up*, `run` raises Unreachable if there is no connection for that long from the start, and Refused
        for problems that only an operator can fix; without it, `run` tries forever.  *flush_limit* limits `stop`.

        `questions` asks about queues, `questions_of_consumer` does so over the connection that consumes.  `denials` has
        what our user may not declare, `outbox` the messages that are not confirmed.

        Raises SettingsError for a URL that cannot be used.
        """
        addresses = [parse(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not addresses:
            raise SettingsError("no broker is configured: set at least one URL, such as amqp://USER@HOST/")
        shown = {"connection_name": name, "product": "clusterbus"} | dict(facts or {})
        self._parameters = {address: parameters(address, shown) for address in addresses}
        self._give_up, self._flush_limit = give_up, flush_limit
        ioloop = IOLoop()
        self._loop, self._services = Loop(ioloop), Services(ioloop)
        self._stopping = self._started = self._has_others = False
        self.questions, self.questions_of_consumer = Questions(self._loop.fail), Questions(self._loop.fail)
        chance = random.Random()  # noqa: S311 - spreads load, protects no secret
        self._pauses = partial(Pauses, _FIRST_PAUSE, longest_pause, chance, each=len(addresses))
        self._shared: dict[str, Any] = {
            "later": self._loop.later,
            "failed": self._loop.fail,
            "impatient": give_up is not None,
        }
        self.denials = Denials()
        self.outbox = Outbox(window, ForeignQueues(lambda: timedelta(seconds=time.monotonic())))
        self._publisher, self._consumer = self._make_work(progress_limit)
        brokers = turns(addresses, chance)
        self._publishing, self._consuming, self._for_others = self._make_lines(brokers, progress_limit)

    def _make_work(self, progress_limit: timedelta) -> tuple[Publisher, Consumer]:
        publisher = Publisher(
            self.outbox,
            properties=self._properties,
            unsendable=UNSENDABLE,
            pauses=self._pauses(),
            # The lines do not exist yet, so these cannot be their methods.
            redeclare=lambda: self._publishing.redeclare(),  # noqa: PLW0108 - see above
            drop=lambda reason: self._publishing.drop(reason),  # noqa: PLW0108 - see above
            progress_limit=progress_limit,
            for_others=self._publish_to_others,
            **self._shared,
        )
        consumer = Consumer(
            pauses=self._pauses(),
            at_end=lambda: self._loop.when_idle(consumer.flush),
            redeclare=lambda: self._consuming.redeclare(),  # noqa: PLW0108 - see above
            leaves_out=lambda queue: self.denials.left_out(queue) is not None,
            **self._shared,
        )
        self._others = OthersPublisher(
            self.outbox.others,
            properties=self._properties,
            later=self._loop.later,
            drop=lambda reason: self._for_others.drop(reason),  # noqa: PLW0108 - see above
            limit=SILENCE / 2,
        )
        return publisher, consumer

    def _make_lines(self, brokers: Iterator[Address], progress_limit: timedelta) -> tuple[Line, Line, Line]:
        def line(role: str, work: Work, **more: Any) -> Line:  # noqa: ANN401 - the options of a Line
            return Line(
                role,
                work,
                turns=brokers,
                connect=self._connect,
                is_denial=is_denial,
                denied=self.denials,
                limit=progress_limit,
                pauses=self._pauses(),
                **self._shared,
                **more,
            )

        patience = _PATIENCE if self._give_up is None else min(_PATIENCE, self._give_up / 2)
        publishing = line("publish", self._publisher, then=self.questions.over, patience=patience)
        consuming = line("consume", self._consumer, then=self.questions_of_consumer.over, patience=_PATIENCE_TO_CONSUME)
        return publishing, consuming, line("publish to others", self._others)

    def _publish_to_others(self) -> None:
        # Most programs never need this connection; once begun, it is opened again by itself.
        if not (self._has_others or self._stopping):
            self._has_others = True
            self._for_others.start()
        self._others.publish()

    @property
    def connection(self) -> ConnectionState:
        """The state of the connection: of the worse one, because both are needed."""
        lines = (self._publishing, self._consuming) if len(self._consumer) else (self._publishing,)
        line = next((each for each in lines if each.problem), self._publishing)
        unread = () if line.problem else self._consumer.unread
        down = tuple(dict.fromkeys(queue for each in lines for queue in each.down if queue not in unread))
        is_settled = line.was_tried if line.problem else not self._consumer.is_opening
        unlike, differing = sentences(() if line.problem else self.denials.unlike.values())
        return ConnectionState(
            str(line.address or ""), line.problem, self._publisher.blocked, unread, down, unlike, differing, is_settled
        )

    @property
    def refusals(self) -> int:
        """How many events queues of others have refused since they began to; 0 if they refuse none."""
        return self._publisher.refusals

    def declare(self, topology: Topology) -> None:
        """Declare *topology* before anything is consumed or published, now and after each reconnect."""
        todo = steps(topology)
        self._publishing.declare(todo)
        self._consuming.declare(todo)

    def consume(self, queue: str, receive: Receive, *, prefetch: int, offset: str | int | None = None) -> None:
        """Call *receive* for each message of *queue*; a stream continues after the last message at each reconnect."""
        self._consumer.consume(queue, receive, prefetch, offset)
        if self._started:
            self._consuming.start()

    def cancel(self, queue: str) -> None:
        """Stop receiving from *queue*; messages that have arrived may still be settled."""
        self._consumer.cancel(queue)

    def publish(self, message: Message, settled: Settled) -> None:
        """Publish *message*; *settled* is called exactly once."""
        self._publisher.publish(message, settled)

    def ack(self, arrival: Arrival) -> None:
        """Settle *arrival*; the acknowledgement is sent at the end of the batch."""
        self._consumer.ack(arrival)

    def requeue(self, arrival: Arrival) -> None:
        """Return *arrival* to its queue; each time counts towards the queue's delivery limit."""
        self._consumer.requeue(arrival)

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* in the thread of `run`; safe from other threads and signal handlers: it takes no lock."""
        self._loop.call(function)

    def later(self, delay: timedelta, function: Callable[[], None]) -> Callable[[], None]:
        """Call *function* after *delay*; returns a function that cancels the call."""
        return self._loop.later(delay, function)

    def when_idle(self, function: Callable[[], None]) -> None:
        """Call *function* once when all messages received so far are handed over."""
        self._loop.when_idle(function)

    def run(self) -> None:
        """Work until `stop`; raises what a called function of ours raises."""
        self._started = True
        self._publisher.start()
        if not self._stopping:
            self._publishing.start()
        if len(self._consumer):
            self._consuming.start()
        if self._give_up is not None:
            self.later(self._give_up, self._check_reached)
        self._loop.run(lambda: self._end(at_once=True))

    def stop(self) -> None:
        """Cancel all consumers, wait (bounded) until all published messages are confirmed, close, and leave `run`."""
        if self._stopping:
            return
        self._stopping = True
        self._consumer.cancel_all()
        deadline = time.monotonic() + self._flush_limit.total_seconds()

        def look() -> None:
            if self._publisher.unsettled and time.monotonic() < deadline:
                self.later(timedelta(milliseconds=5), look)
                return
            if left := self._publisher.unsettled:
                log.warning("stopped before all messages were confirmed", extra={"unsettled": left})
            self._consumer.flush()
            self._end(at_once=False)

        self.when_idle(look)

    def _connect(self, address: Address, callbacks: dict[str, Callable[..., None]]) -> Connection:
        return Connection(self._parameters[address], custom_ioloop=self._services, **callbacks)

    def _properties(self, message: Message) -> Properties:
        address = self._publishing.address
        return properties(message, address.user if address else None)

    def _end(self, *, at_once: bool) -> None:
        end_all((self._publishing, self._consuming, self._for_others), self._loop.stop, at_once=at_once)
        self.later(_GOODBYE, self._loop.stop if at_once else lambda: self._end(at_once=True))

    def _check_reached(self) -> None:
        if not self._publishing.was_ready:
            self._loop.fail(Unreachable(f"no connection to {self._publishing.address}: {self._publishing.reason}"))
