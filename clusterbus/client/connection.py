"""One connection to one of several brokers, in a thread of its own: heartbeats go on however long a block runs.

It is opened again whenever it is lost.  Until it has worked once, what only a person can put right is an error; later
it is a warning in the log, because brokers that restart refuse for a while.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from router.broker.addresses import Address, Pauses, turns
from router.broker.amqp import pika_connection
from router.broker.amqp.connections import Line
from router.broker.amqp.consumer import Consumer
from router.broker.amqp.declarations import Denials
from router.broker.amqp.event_loop import Loop
from router.broker.amqp.pika_types import Later
from router.broker.amqp.requests import Questions
from router.broker.interface import Arrival
from router.broker.topology import HISTORY
from router.errors import SettingsError

from .history import History
from .options import Options
from .refusals import not_reached, refused_login, refused_queue
from .source import Deliver

log = logging.getLogger("clusterbus")

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(milliseconds=500), timedelta(seconds=10)
_ANSWER = timedelta(seconds=30)
_GOODBYE = timedelta(seconds=1)


class Connection:
    """The source of a service's events: first those of the history, if asked for, then those of its queue.

    One event is under way until the first is settled, then as many as the options say: so an event that ends the
    program each time takes no others with it when the broker has delivered it too often.
    """

    def __init__(self, options: Options) -> None:
        """Prepare the connection.  Raises SettingsError for an address, password or certificate that is not usable."""
        self._options = options
        self._shown = {"connection_name": f"service {options.service or options.queue}", "product": "clusterbus client"}
        self._addresses = options.addresses()
        self._parameters = [pika_connection.parameters(each, self._shown) for each in self._addresses]
        self._thread = threading.Thread(target=self._run, name="clusterbus events", daemon=True)
        self._deliver: Deliver = lambda _item: None
        self._to_begin = {options.queue} | ({HISTORY} if options.since else set())
        self._early: list[Arrival] | None = [] if options.since else None
        self._is_careful = True
        self._is_ending = False

    def _make_line(self) -> None:
        ioloop = pika_connection.IOLoop()
        self._loop, self._services = Loop(ioloop), pika_connection.Services(ioloop)
        self.questions_of_consumer = Questions(self._loop.fail)
        chance = random.Random()  # noqa: S311 - spreads load, protects no secret
        pauses = partial(Pauses, _FIRST_PAUSE, _LONGEST_PAUSE, chance, each=len(self._addresses))
        self._consumer = Consumer(
            pauses=pauses(),
            later=self._loop.later,
            at_end=lambda: self._loop.when_idle(self._consumer.flush),
            redeclare=lambda: self._line.redeclare(),  # noqa: PLW0108 - the line does not exist yet
            failed=self._not_consumed,
            impatient=True,
            began=self._began,
        )
        self._line = Line(
            "service",
            self._consumer,
            turns=turns(self._addresses, chance),
            pauses=pauses(),
            later=self._loop.later,
            connect=self._connect,
            is_denial=pika_connection.is_denial,
            denied=Denials(),
            failed=self._not_connected,
            impatient=True,
            limit=_ANSWER,
            then=self.questions_of_consumer.over,
        )

    @property
    def later(self) -> Later:
        """Calls a function after a delay, in the thread of the loop."""
        return self._loop.later

    def start(self, deliver: Deliver) -> None:
        """Connect, and give *deliver* each message, in another thread."""
        self._deliver = deliver
        self._make_line()
        self._thread.start()

    def holds(self, arrival: Arrival) -> bool:
        """Say whether *arrival* can still be settled; what came from the history needs no settling."""
        return arrival.queue != self._options.queue or self._consumer.holds(arrival)

    def ack(self, arrival: Arrival) -> None:
        """Acknowledge *arrival*."""
        self._loop.call(lambda: self._settle(arrival, self._consumer.ack))

    def requeue(self, arrival: Arrival) -> None:
        """Return *arrival* to its queue; an event of the history is in it already, unless it was finished there."""
        self._loop.call(lambda: self._requeue(arrival))

    def dead_letter(self, arrival: Arrival) -> None:
        """Put *arrival* into the dead-letter queue; an event of the history is passed over."""
        settle = self._consumer.dead_letter if arrival.queue == self._options.queue else self._consumer.ack
        self._loop.call(lambda: self._settle(arrival, settle))

    def close(self, returned: Arrival | None = None) -> None:
        """Send what is settled, return *returned* to its queue, and disconnect."""
        if self._thread.is_alive():
            self._loop.call(lambda: self._end(returned))
            if self._thread is not threading.current_thread():
                self._thread.join()

    # Below: in the thread of the loop.

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            self._consumer.consume(self._options.queue, self._received, 1, None)
            if self._options.since:
                History(self, self._consumer, self._options.since, self._deliver, self._history_read).begin()
            self._line.start()
            self.later(self._options.patience, self._check_begun)
            self._loop.run(self._break)
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the blocks
            failure = error
        self._deliver(failure)

    def _received(self, arrival: Arrival) -> None:
        if self._early is None:
            self._deliver(arrival)
        else:
            self._early.append(arrival)

    def _history_read(self) -> None:
        early, self._early = self._early or [], None
        for each in early:
            self._deliver(each)

    def _settle(self, arrival: Arrival, settle: Callable[[Arrival], None]) -> None:
        if not self._is_careful or self._is_ending or arrival.queue != self._options.queue:
            settle(arrival)
            return
        self._is_careful = False
        # In this order the broker sends nothing more to the consumer that had one event at a time.
        self._consumer.cancel(arrival.queue)
        settle(arrival)
        self._consumer.consume(arrival.queue, self._received, self._options.prefetch, None)

    def _requeue(self, arrival: Arrival) -> None:
        if arrival.queue == self._options.queue:
            self._consumer.requeue(arrival)

    def _connect(self, address: Address, callbacks: dict[str, Callable[..., None]]) -> pika_connection.Connection:
        at = self._addresses.index(address)
        try:
            # Passwords and certificates are replaced while programs run.
            self._parameters[at] = pika_connection.parameters(self._options.addresses()[at], self._shown)
        except SettingsError as error:
            log.warning("the login cannot be read; using the previous one", extra={"reason": str(error)})
        return pika_connection.Connection(self._parameters[at], custom_ioloop=self._services, **callbacks)

    def _began(self, queue: str) -> None:
        self._to_begin.discard(queue)
        if not self._to_begin:
            self._line.impatient = self._consumer.impatient = False

    def _not_connected(self, error: BaseException) -> None:
        self._loop.fail(refused_login(error, self._options))

    def _not_consumed(self, error: BaseException) -> None:
        self._loop.fail(refused_queue(error, self._options))

    def _check_begun(self) -> None:
        if self._to_begin and not self._is_ending:
            self._loop.fail(not_reached(self._line, self._to_begin, self._addresses, self._options))

    def _end(self, returned: Arrival | None) -> None:
        if not self._is_ending:
            self._is_ending = True
            # In this order the broker does not send it here again, which would count as one more delivery.
            self._consumer.cancel_all()
            if returned:
                self._requeue(returned)
            self._consumer.flush()
            self._line.end(self._loop.stop, at_once=False)
            self.later(_GOODBYE, self._break)

    def _break(self) -> None:
        self._is_ending = True
        self._line.end(self._loop.stop, at_once=True)
        self.later(_GOODBYE, self._loop.stop)
