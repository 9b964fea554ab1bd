"""The engine: brings events to their subscriptions' handlers, and acts on what becomes of them.

An outcome is written first and acted on then, and an arrival is acknowledged last, when whatever takes its place is
confirmed.  So a kill at any moment has the broker deliver it again, and the store tells what was done already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from router.broker import Arrival, Broker, topology
from router.broker.topology import Topology
from router.catalogue import Catalogues
from router.errors import InvalidEvent
from router.sections import Settings

from . import arrivals, settling
from .admission import Admission
from .batches import Batches
from .deliveries import Key, Waiting, bounded
from .dispatch import Dispatch
from .errors import StoreError
from .flights import Counts, Flight
from .groupings import key_of
from .lanes import Lanes
from .reloading import Change
from .roster import Roster, Serve
from .servings import Called, Serving, serve, write_logged
from .store import Store
from .subscriptions import Subscriptions

log = logging.getLogger(__name__)

_ELSEWHERE = timedelta(seconds=2)
"""Between two looks at a delivery that another consumer of this machine has begun, or whose file cannot be written."""

_LAST = timedelta(seconds=20)
"""What broken-off handlers have, after the limit of a stop, to end their commands."""

_LONG = timedelta(minutes=10)
"""A delivery that is with us for so long is entrusted to the broker's wait queues: what is unsettled for half an hour
costs the consumer its channel."""

_MEANWHILE = timedelta(minutes=15)
_TIDY = timedelta(minutes=10)
_KEPT = timedelta(days=32)
"""Longer than any rate and any fold."""


class Engine:
    """Serves subscriptions over one line to the broker, until `stop`."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        subscriptions: Subscriptions,
        *,
        clock: Callable[[], datetime],
        settings: Settings | None = None,
        foundation: Topology | None = None,
        serve: Serve = serve,
    ) -> None:
        """Serve *subscriptions*; *foundation* is what the broker has to have besides, by default `topology.base()`.

        Raises SubscriptionsError where one of them cannot be served on this machine.
        """
        self._broker, self._clock = broker, clock
        self._breaking_off = threading.Event()
        self._roster = Roster(
            subscriptions, store, foundation=foundation, settings=settings, stopping=self._breaking_off, serve=serve
        )
        self._catalogues = Catalogues.shipped()
        self._batches = Batches(broker, self._work)
        self._admission = Admission(store, clock)
        self._dispatch = Dispatch(
            broker,
            clock,
            self._breaking_off,
            through=self._batches.add,
            broken_off=self._give_back,
            paced=self._fetch_anew,
        )
        self._lanes = Lanes()
        self._flights: dict[Key, Flight] = {}
        self._parking = 0
        self._is_stopping = False

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What became of the arrivals of each subscription."""
        return {each.name: each.counts for each in self._roster}

    def start(self) -> None:
        """Have queues and bindings declared, and deliveries begin, as soon as the broker runs.  Raises StoreError."""
        self._broker.declare(self._roster.topology())
        for serving in self._roster:
            self._consume(serving)
        self._broker.later(_LONG / 10, self._entrust)
        self._broker.later(_TIDY, self._tidy)

    def _tidy(self) -> None:
        """Forget what no rate and no fold asks for any more."""
        try:
            self._admission.forget(self._clock() - _KEPT)
        except StoreError as error:
            log.warning("store not tidied, will try again", extra={"reason": str(error)})
        self._broker.later(_TIDY, self._tidy)

    def _consume(self, serving: Serving) -> None:
        self._broker.consume(serving.queue, partial(self._receive, serving), prefetch=serving.way.prefetch)

    def reload(self, subscriptions: Subscriptions) -> Change:
        """Serve *subscriptions* from now on, in place of those before; to be called in the broker's thread.

        What is under way ends as it began, and nothing is delivered anew.  A subscription that is not there any more
        keeps its queue.  All or nothing: raises SubscriptionsError and StoreError, and then nothing has changed.
        """
        change, wanted, leaving, coming = self._roster.follow(subscriptions)
        self._broker.declare(wanted)
        for serving in leaving:
            serving.is_leaving = True
            self._broker.cancel(serving.queue)
            self._close_if_left(serving)
        for serving in coming:
            self._consume(serving)
        return change

    def stop(self, limit: timedelta = timedelta(seconds=30)) -> None:
        """Begin nothing new, let handlers run for at most *limit*, write what they came to, and stop the broker.

        To be called in the broker's thread.  What has no outcome by then is given back.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        log.info("consumer stops", extra={"deliveries": len(self._flights), "limit": str(limit)})
        for serving in self._roster:
            self._broker.cancel(serving.queue)
        for flight in list(self._flights.values()):
            if flight.outcome is None and (flight.ticket is None or flight.ticket.cancel()):
                self._give_back(flight)
        self._broker.later(limit, self._break_off)
        self._leave_if_through()

    def _break_off(self) -> None:
        log.warning("limit of the stop is reached, handlers are broken off", extra={"deliveries": len(self._flights)})
        self._breaking_off.set()
        for flight in list(self._flights.values()):
            if flight.outcome or not flight.is_called:
                self._give_back(flight)
        self._broker.later(_LAST, self._broker.stop)

    def _leave_if_through(self) -> None:
        if self._is_stopping and not self._flights and not self._parking:
            for serving in self._roster:
                serving.close()
            self._broker.stop()

    def _close_if_left(self, serving: Serving) -> None:
        if serving.is_leaving and not any(each.serving is serving for each in self._flights.values()):
            serving.close()

    # What arrives

    def _receive(self, serving: Serving, arrival: Arrival) -> None:
        if self._is_stopping:
            # Not settled: the broker gives it to another when we are gone.
            return
        try:
            delivery = serving.informed(arrivals.read(arrival, serving.name))
        except InvalidEvent as error:
            self._park(serving, arrival, bounded(str(error)))
            return
        # What comes back was let pass when it first came: a delivery that is owed stays owed.
        if arrival.exchange != topology.RETURN and not serving.lets_pass(delivery.event):
            self._broker.ack(arrival)
            return
        key = delivery.key
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(key, delivery, serving, [arrival], self._clock())
            if serving.subscription.order_by:
                flight.lane = key_of(delivery.event, serving.subscription.order_by)
            self._batches.add(flight)
        else:
            serving.counts.duplicates += 1
            same = flight.delivery.attempt == delivery.attempt
            (flight.arrivals if same else flight.others).append(arrival)

    def _park(self, serving: Serving, arrival: Arrival, reason: str) -> None:
        serving.counts.unreadable += 1
        self._parking += 1
        settling.park(self._broker, arrival, serving.name, reason, partial(self._parked, arrival))

    def _parked(self, arrival: Arrival) -> None:
        self._broker.ack(arrival)
        self._parking -= 1
        self._leave_if_through()

    # A batch

    def _work(self, flights: list[Flight]) -> None:
        # What was given back since it was put into the batch is not ours any more.
        flights = [flight for flight in flights if self._flights.get(flight.key) is flight and self._is_ahead(flight)]
        due, elsewhere = self._admission.due([flight for flight in flights if flight.outcome is None])
        elsewhere += write_logged(due)
        calls = {flight: owner for flight, owner in due.items() if isinstance(flight.serving.way, Called)}
        ended = [flight for flight in flights if flight.outcome and not flight.is_recorded]
        won: list[Flight] = []
        if calls or ended:
            won, lost = self._admission.write(calls, ended)
            elsewhere += lost
        for flight in elsewhere:
            self._hold(flight)
        for flight in won:
            self._dispatch.submit(flight)
        for flight in flights:
            if flight.outcome:
                self._act(flight)

    def _is_ahead(self, flight: Flight) -> bool:
        return not flight.lane or flight.outcome is not None or self._lanes.enter(flight)

    def _act(self, flight: Flight) -> None:
        settling.act(self._broker, flight, self._finish, self._catalogues, self._clock())

    # Handlers

    def _hold(self, flight: Flight) -> None:
        """Look at *flight* again a little later."""
        self._broker.later(_ELSEWHERE, partial(self._batches.add, flight))

    def _fetch_anew(self, serving: Serving) -> None:
        """Have as much at hand as the serving says now; what is too much for it may go to others."""
        if serving.is_leaving or self._is_stopping:
            return
        self._broker.cancel(serving.queue)
        self._consume(serving)
        waiting = [each for each in self._flights.values() if each.serving is serving and each.is_waiting]
        for flight in waiting[serving.way.prefetch :]:
            if flight.ticket and flight.ticket.cancel():
                self._let_go(flight)

    def _let_go(self, flight: Flight) -> None:
        flight.outcome = Waiting(timedelta(), f"{flight.serving.name} is busy")
        self._batches.add(flight)

    def _entrust(self) -> None:
        """Have the broker keep, in a wait queue, what is with us for long: a copy that comes back joins its flight."""
        before = self._clock() - _LONG
        for flight in self._flights.values():
            if flight.outcome is None and flight.since < before and flight.arrivals:
                flight.since = self._clock()
                if flight.ticket and flight.ticket.cancel():
                    # It was behind others in the pool all the time.
                    self._let_go(flight)
                    continue
                kept, flight.arrivals = flight.arrivals, []
                settling.entrust(self._broker, flight, _MEANWHILE, partial(self._ack_all, kept))
        self._broker.later(_LONG / 10, self._entrust)

    def _ack_all(self, kept: list[Arrival]) -> None:
        for arrival in kept:
            self._broker.ack(arrival)

    def _give_back(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is not flight:
            # Given back before, when the limit of a stop was reached.
            return
        self._forget(flight)
        for arrival in flight.arrivals + flight.others:
            self._broker.requeue(arrival)
        self._leave_if_through()

    def _finish(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is not flight:
            # Given back meanwhile: whoever gets it finds its outcome.
            return
        self._forget(flight)
        self._ack_all(flight.arrivals)
        for arrival in flight.others:
            if flight.serving.is_leaving:
                self._broker.requeue(arrival)  # its handler is closed: whoever serves the queue now gets it
            else:
                self._receive(flight.serving, arrival)
        self._leave_if_through()

    def _forget(self, flight: Flight) -> None:
        del self._flights[flight.key]
        if flight.lane and (following := self._lanes.leave(flight)):
            self._batches.add(following)
        self._close_if_left(flight.serving)
