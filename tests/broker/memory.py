"""RabbitMQ's stand-in for tests: the same promises, in one thread, on a clock that the test moves.

    memory = Memory()
    service = Service(broker=memory, ...)
    memory.run()                            # returns when nothing is left to do now, or after `stop`
    memory.advance(timedelta(seconds=5))    # what was to happen in these five seconds happens

Several programs meet over one broker: `memory.another(user="consumer")` is another line to it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from router.broker import content_modes
from router.broker.amqp.header_frame import header_octets
from router.broker.differences import sentences
from router.broker.interface import Arrival, ConnectionState, Message, Settlement
from router.broker.topology import EVENTS, Topology
from router.errors import BrokerError
from router.model.bounds import HEADER_FRAME, KEY
from router.model.events import OWN, Event
from tests import adherence
from tests.broker.clock import Clock, Work
from tests.broker.model import Model, Stored, Subscriber

log = logging.getLogger(__name__)

Receive = Callable[[Arrival], None]
Settled = Callable[[Settlement], None]

_PAUSE = timedelta(seconds=1)


class Memory:
    """A `Broker` without RabbitMQ.

    A test may set `blocked` (nothing is sent until it is False again), and call `nack_next`, `refuse_next`, `drop`
    and `delete`, and `refusals`.  `now` is the time since it began.
    """

    def __init__(self, *, user: str = "guest", clock: Clock | None = None) -> None:
        """Publish as *user*; with no *clock* to a broker of its own."""
        self._clock = clock or Clock(Model())
        self._model = self._clock.model
        self._user = user
        self._consuming: dict[str, tuple[Receive, int, str | None]] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._last: dict[str, int] = {}
        self._outbox: deque[tuple[Message, Settled]] = deque()
        self._nacks = self._refusals = 0
        self._pausing = self._stopping = self._stopped = False
        self._topologies: list[Topology] = []
        self._failure: BrokerError | None = None
        self._blocked = False
        self.refusals = 0
        self.published: list[Message] = []

    def another(self, *, user: str) -> Memory:
        """Return another program's line to the same broker; running one runs all."""
        return Memory(user=user, clock=self._clock)

    @property
    def connection(self) -> ConnectionState:
        """The state of the connection: only `blocked`, `unlike` and `differing` can be wrong."""
        unlike, differing = sentences(self._model.unlike.values())
        blocked = "low on memory" if self._blocked else ""
        return ConnectionState("memory", blocked=blocked, unlike=unlike, differing=differing)

    @property
    def now(self) -> timedelta:
        """The time since the broker began."""
        return self._model.now

    @property
    def model(self) -> Model:
        """The broker's exchanges and queues, to be looked at."""
        return self._model

    def declare(self, topology: Topology) -> None:
        """Have *topology* there, now and after each reconnect."""
        self._topologies.append(topology)
        self._declare(topology)

    def _declare(self, topology: Topology) -> None:
        try:
            self._model.declare(topology)
        except BrokerError as error:
            self._failure = error

    def consume(self, queue: str, receive: Receive, *, prefetch: int, offset: str | int | None = None) -> None:
        """Call *receive* for each message of *queue*, at most *prefetch* unsettled at once."""
        if queue in self._consuming:
            raise BrokerError(f"queue {queue!r} is already consumed: cancel that first")
        self._consuming[queue] = (receive, prefetch, offset)
        self._clock.work.append(lambda: self._subscribe(queue))

    def _subscribe(self, queue: str) -> None:
        if queue not in self._consuming or queue in self._subscribers or self._stopping:
            return
        receive, prefetch, offset = self._consuming[queue]
        last = self._last.get(queue)

        def take(number: int, message: Stored) -> None:
            place = message.headers.get("x-stream-offset")
            if isinstance(place, int):
                self._last[queue] = place
            receive(_arrival(queue, message, (subscriber, number)))

        subscriber = Subscriber(queue, take, prefetch)
        try:
            self._model.subscribe(subscriber, offset if last is None else last + 1)
        except BrokerError as error:
            log.warning("queue cannot be consumed now", extra={"queue": queue, "reason": str(error)})
            self._clock.later(_PAUSE, lambda: self._resubscribe(queue))
        else:
            self._subscribers[queue] = subscriber

    def _resubscribe(self, queue: str) -> None:
        for topology in self._topologies:
            self._declare(topology)
        self._subscribe(queue)

    def cancel(self, queue: str) -> None:
        """Receive nothing more from *queue*; what has arrived may still be settled."""
        self._consuming.pop(queue, None)
        self._last.pop(queue, None)
        subscriber = self._subscribers.pop(queue, None)
        if subscriber:
            self._model.unsubscribe(subscriber, lost=False)

    def publish(self, message: Message, settled: Settled) -> None:
        """Publish *message*; *settled* is called exactly once, from `run`."""
        self._outbox.append((message, settled))
        self._clock.work.append(self._send_all)

    def _send_all(self) -> None:
        while self._outbox and not self._blocked and not self._pausing:
            message, settled = self._outbox.popleft()
            if self._nacks:
                self._nacks -= 1
                if not message.again:
                    self._clock.work.append(lambda settled=settled: settled(Settlement.REFUSED))  # type: ignore[misc]  # a default
                    continue
                self._outbox.appendleft((message, settled))
                self._pausing = True
                self._clock.later(_PAUSE, self._go_on)
                return
            self._send(message, settled)

    def _go_on(self) -> None:
        self._pausing = False
        self._send_all()

    def _send(self, message: Message, settled: Settled) -> None:
        # A client of others may send what ours refuses; a program of ours reads as well.
        if self._refusals or (self._consuming and not fits(message)):
            self._refusals = max(self._refusals - 1, 0)
            self._clock.work.append(lambda: settled(Settlement.REFUSED))
            return
        self.published.append(message)
        if message.exchange == EVENTS and message.type.startswith(f"{OWN}."):
            # A service relies on it, whichever part of us publishes it.
            body, _ = content_modes.structured(message.content_type, message.headers, message.body)
            adherence.check(Event.from_json(body))
        stored = Stored(
            message.exchange,
            message.key,
            message.body,
            message.id,
            self._user,
            dict(message.headers),
            self._model.now,
            content_type=message.content_type,
        )
        try:
            routed = self._model.publish(stored)
        except BrokerError:
            # As the real line does: the exchange ought to be there, so it is declared again, and all waits for it.
            self.published.pop()
            self._outbox.appendleft((message, settled))
            self._pausing = True
            self._clock.later(_PAUSE, self._redeclare)
            return
        self._clock.work.append(lambda: settled(Settlement.CONFIRMED if routed else Settlement.UNROUTED))

    def _redeclare(self) -> None:
        for topology in self._topologies:
            self._declare(topology)
        self._go_on()

    def ack(self, arrival: Arrival) -> None:
        """Settle *arrival*; nothing happens where its connection is gone."""
        subscriber, number = _of(arrival)
        self._model.ack(subscriber, number)

    def requeue(self, arrival: Arrival) -> None:
        """Give *arrival* back, to be delivered again."""
        subscriber, number = _of(arrival)
        self._model.requeue(subscriber, number)

    def call(self, function: Work) -> None:
        """Have *function* called in the thread of `run`."""
        self._clock.work.append(function)

    def later(self, delay: timedelta, function: Work) -> Work:
        """Have *function* called when the clock was advanced by *delay*; returns a function that takes it back."""
        return self._clock.later(delay, function)

    def when_idle(self, function: Work) -> None:
        """Have *function* called once when all that has been received so far is handed over."""
        self._clock.idle.append(function)

    def run(self) -> None:
        """Do all that is to be done now, for all lines to this broker; after `stop`, nothing.

        Raises Refused where an exchange that was declared is there with another type.
        """
        self._raise_failure()
        self._clock.settle(lambda: self._stopped)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def advance(self, duration: timedelta) -> None:
        """Let *duration* pass; what falls due happens in its order, at its time."""
        end = self._model.now + duration
        self.run()
        while (due := self._clock.next_due) is not None and due <= end and not self._stopped:
            self._model.now = max(self._model.now, due)
            self.run()
        self._model.now = end
        self.run()

    def freeze(self, duration: timedelta) -> None:
        """Let *duration* pass as on a machine that is frozen: what falls due is late, and nothing is lost."""
        self._model.now += duration

    def stop(self) -> None:
        """Leave `run` once what was published is settled; what arrived and was not settled goes back."""
        if self._stopping:
            return
        self._stopping = True
        for subscriber in self._subscribers.values():
            self._model.unsubscribe(subscriber, lost=False)
        self._clock.idle.append(self._finish)

    def _finish(self) -> None:
        if self._outbox and not self._blocked and not self._pausing:
            self._clock.idle.append(self._finish)
            return
        for subscriber in self._subscribers.values():
            self._model.unsubscribe(subscriber, lost=True)
        self._stopped = True

    # Below: what goes wrong, on demand.

    @property
    def blocked(self) -> bool:
        """Whether the broker takes nothing from us for now."""
        return self._blocked

    @blocked.setter
    def blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        self._clock.work.append(self._send_all)

    def nack_next(self, count: int = 1) -> None:
        """Have the broker nack the next *count* sends; each is sent again after a second, if it may be."""
        self._nacks += count

    def refuse_next(self, count: int = 1) -> None:
        """Have the broker never take the next *count* messages."""
        self._refusals += count

    def drop(self) -> None:
        """Lose the connection: what was not settled is delivered again, and acknowledging it has no effect."""
        lost, self._subscribers = self._subscribers, {}
        for queue, subscriber in lost.items():
            self._model.unsubscribe(subscriber, lost=True)
            self._clock.work.append(lambda queue=queue: self._subscribe(queue))  # type: ignore[misc]  # a default

    def delete(self, queue: str) -> None:
        """Delete *queue*; who consumes it through this line declares it again and goes on."""
        self._model.delete(queue)
        if self._subscribers.pop(queue, None):
            self._clock.later(_PAUSE, lambda: self._resubscribe(queue))


def fits(message: Message) -> bool:
    """Say whether a frame has room for all but the body of *message*."""
    words = (message.exchange, message.key, message.id, message.type, message.content_type)
    short = all(len(each.encode("utf-8", "surrogatepass")) <= KEY for each in words)
    return short and header_octets(message) <= HEADER_FRAME


def _of(arrival: Arrival) -> tuple[Subscriber, int]:
    tag: tuple[Subscriber, int] = arrival.tag  # type: ignore[assignment]  # only `Memory` makes them
    return tag


def _arrival(queue: str, message: Stored, tag: object) -> Arrival:
    body, headers = content_modes.structured(message.content_type, message.headers, message.body)
    return Arrival(
        queue=queue,
        exchange=message.exchange,
        key=message.key,
        body=body,
        id=message.id,
        user=message.user,
        headers=headers,
        redelivered=message.returned > 0,
        tag=tag,
    )
