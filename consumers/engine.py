"""The engine: brings events to their subscriptions' handlers, and acts on what becomes of them.

An outcome is written first and acted on then, and an arrival is acknowledged last, when whatever takes its place is
confirmed.  So a kill at any moment has the broker deliver it again, and the store tells what was done already.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.engine import Connection

from router.broker import Arrival, Broker, topology
from router.broker.topology import Topology
from router.errors import InvalidEvent
from router.settings import Settings

from . import arrivals, children, settling
from .batches import Batches
from .deliveries import Call, Key, Outcome, attempt, bounded, judge
from .flights import Counts, Flight
from .servings import Called, Logged, Serving, serve
from .store import Store, audit, bindings
from .store import deliveries as table
from .subscriptions import Subscription, Subscriptions
from .verbs import Surroundings

log = logging.getLogger(__name__)

_ELSEWHERE = timedelta(seconds=2)
"""Between two looks at a delivery that another consumer of this machine has begun, or whose file cannot be written."""

_LAST = timedelta(seconds=20)
"""What broken-off handlers have, after the limit of a stop, to end their commands."""


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
        serve: Callable[[Subscription, Surroundings], Serving] = serve,
    ) -> None:
        """Serve *subscriptions*; *foundation* is what the broker has to have besides, by default `topology.base()`.

        Raises SubscriptionsError where one of them cannot be served on this machine.
        """
        self._broker, self._store, self._clock = broker, store, clock
        self._subscriptions, self._foundation = subscriptions, foundation or topology.base()
        self._breaking_off = threading.Event()
        self._settings = settings or Settings()
        self._servings = [serve(each, self._around(each)) for each in subscriptions.subscriptions if each.mode != "off"]
        self._batches = Batches(broker, self._work)
        self._flights: dict[Key, Flight] = {}
        self._parking = 0
        self._owner = children.owner()
        self._is_stopping = False

    def _around(self, each: Subscription) -> Surroundings:
        return Surroundings(each.name, self._breaking_off, self._settings, each.file, each.line)

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What became of the arrivals of each subscription."""
        return {each.name: each.counts for each in self._servings}

    def start(self) -> None:
        """Have queues and bindings declared, and deliveries begin, as soon as the broker runs.  Raises StoreError."""
        self._broker.declare(self._topology())
        for serving in self._servings:
            self._broker.consume(serving.queue, partial(self._receive, serving), prefetch=serving.way.prefetch)

    def stop(self, limit: timedelta = timedelta(seconds=30)) -> None:
        """Begin nothing new, let handlers run for at most *limit*, write what they came to, and stop the broker.

        To be called in the broker's thread.  What has no outcome by then is given back.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        log.info("consumer stops", extra={"deliveries": len(self._flights), "limit": str(limit)})
        for serving in self._servings:
            self._broker.cancel(serving.queue)
            if isinstance(serving.way, Called):
                serving.way.pool.shutdown(wait=False, cancel_futures=True)
        for flight in list(self._flights.values()):
            if flight.outcome is None and not flight.is_called:
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
            self._broker.stop()

    def _topology(self) -> Topology:
        wanted = self._foundation
        with self._store.writing() as transaction:
            for each in self._subscriptions.subscriptions:
                wanted += topology.subscription(each.name, each.patterns)
                stale = bindings.remember(transaction, each.name, each.patterns)
                queue = topology.queue_of(each.name)
                gone = (topology.Binding(topology.EVENTS, queue, pattern) for pattern in sorted(stale))
                wanted += topology.Topology(stale=tuple(gone))
        return wanted

    # What arrives

    def _receive(self, serving: Serving, arrival: Arrival) -> None:
        if self._is_stopping:
            # Not settled: the broker gives it to another when we are gone.
            return
        try:
            delivery = arrivals.read(arrival, serving.name)
        except InvalidEvent as error:
            self._park(serving, arrival, bounded(str(error)))
            return
        # What comes back was let pass when it first came: a delivery that is owed stays owed.
        if serving.filter and arrival.exchange != topology.RETURN:
            verdict = serving.filter.matches(delivery.event)
            if not verdict.matched:
                serving.counts.no_match(verdict.reason)
                self._broker.ack(arrival)
                return
        key = delivery.key
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(key, delivery, serving, [arrival])
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
        flights = [flight for flight in flights if self._flights.get(flight.key) is flight]
        due = self._due([flight for flight in flights if flight.outcome is None])
        self._write_files(due)
        now = self._clock()
        calls = {flight: owner for flight, owner in due.items() if isinstance(flight.serving.way, Called)}
        ended = [flight for flight in flights if flight.outcome and not flight.is_recorded]
        won: list[Flight] = []
        if calls or ended:
            with self._store.writing() as transaction:
                table.claim(transaction, ((self._attempt(flight, now), owner) for flight, owner in calls.items()))
                if audited := [each.delivery for each in ended if _is_audited(each)]:
                    audit.append(transaction, audited)
                table.record(transaction, [self._attempt(flight, now) for flight in ended])
                won = self._won(transaction, calls)
        for flight in ended:
            flight.is_recorded = True
        for flight in calls.keys() - set(won):
            self._hold(flight)
        for flight in won:
            self._submit(flight)
        for flight in flights:
            if flight.outcome:
                settling.act(self._broker, flight, self._finish)

    def _due(self, fresh: list[Flight]) -> dict[Flight, str]:
        """Return which of *fresh* are to be attempted, with the owner of the row that says it has begun before.

        The others get the outcome that is recorded, or wait for the consumer that is at them.
        """
        if not fresh:
            return {}
        with self._store.reading() as transaction:
            known = table.look_up(transaction, (flight.key for flight in fresh))
        due = {}
        for flight in fresh:
            number = flight.delivery.attempt
            begun = known.get(flight.key)
            if begun is None:
                due[flight] = ""
                continue
            flight.outcome = judge(number, {each: row.outcome for each, row in begun.items()})
            if flight.outcome:
                flight.is_recorded = True
                flight.serving.counts.repeated += 1
                continue
            owner = begun[number].owner if number in begun else ""
            if number - 1 in begun and (before := begun[number - 1].outcome):
                flight.delivery = dataclasses.replace(flight.delivery, earlier=before.result)
            if owner not in ("", self._owner) and children.is_alive(owner):
                self._hold(flight)
                continue
            if owner:
                flight.delivery = dataclasses.replace(flight.delivery, repeated=True)
            due[flight] = owner
        return due

    def _write_files(self, due: Mapping[Flight, str]) -> None:
        """Have what is logged written, and give it its outcome; where that fails it waits, and nothing else does."""
        logged: dict[Logged, list[Flight]] = defaultdict(list)
        for flight in due:
            if isinstance(way := flight.serving.way, Logged):
                logged[way].append(flight)
        for way, flights in logged.items():
            try:
                way.write(flights)
            except OSError as error:
                facts = {"subscription": flights[0].serving.name, "reason": str(error), "deliveries": len(flights)}
                log.error("log file cannot be written, its deliveries wait", extra=facts)  # noqa: TRY400 - as in batches
                for flight in flights:
                    self._hold(flight)

    def _attempt(self, flight: Flight, now: datetime) -> table.Attempt:
        ended = flight.ended or (now if flight.outcome else None)
        digest = self._subscriptions.digest
        return table.Attempt(flight.delivery, self._owner, digest, flight.started or now, ended, flight.outcome)

    def _won(self, transaction: Connection, calls: Mapping[Flight, str]) -> list[Flight]:
        """Return those of *calls* whose row is ours now; another consumer was quicker with the rest."""
        if not calls:
            return []
        known = table.look_up(transaction, (flight.key for flight in calls))
        mine = table.Begun(self._owner, None)
        return [flight for flight in calls if known[flight.key].get(flight.delivery.attempt) == mine]

    # Handlers

    def _hold(self, flight: Flight) -> None:
        """Look at *flight* again a little later."""
        self._broker.later(_ELSEWHERE, partial(self._batches.add, flight))

    def _submit(self, flight: Flight) -> None:
        if isinstance(way := flight.serving.way, Called):
            flight.future = way.pool.submit(self._call, flight, way.handler)

    def _call(self, flight: Flight, handler: Call) -> None:
        """Call the handler, in a thread of its subscription's; what it comes to goes to the broker's thread."""
        started = self._clock()
        outcome = attempt(flight.delivery, handler, flight.serving.subscription.retry)
        self._broker.call(partial(self._called, flight, started, outcome))

    def _called(self, flight: Flight, started: datetime, outcome: Outcome | None) -> None:
        if outcome is None:
            self._give_back(flight)
            return
        flight.started, flight.ended, flight.outcome = started, self._clock(), outcome
        self._batches.add(flight)

    def _give_back(self, flight: Flight) -> None:
        del self._flights[flight.key]
        for arrival in flight.arrivals + flight.others:
            self._broker.requeue(arrival)
        self._leave_if_through()

    def _finish(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is not flight:
            # Given back meanwhile: whoever gets it finds its outcome.
            return
        del self._flights[flight.key]
        for arrival in flight.arrivals:
            self._broker.ack(arrival)
        for arrival in flight.others:
            self._receive(flight.serving, arrival)
        self._leave_if_through()


def _is_audited(flight: Flight) -> bool:
    return isinstance(flight.serving.way, Logged) and flight.serving.way.is_audited
