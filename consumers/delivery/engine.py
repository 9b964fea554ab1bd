"""The engine: brings events to the handlers of their subscriptions, and acts on the outcomes.

An outcome is written first and acted on after that.  The arrival is acknowledged last, when the broker has confirmed
whatever takes its place.  So after a kill at any moment the broker delivers again, and the store knows what was done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from router.broker.interface import Broker
from router.broker.topology import Topology
from router.programs.health import Activity
from router.settings.models import Settings

from ..config.python_files import error_text
from ..deliveries import bounded
from ..errors import StoreError
from ..policies.retry import raised
from ..store.database import Store
from ..subscriptions.diff import Change
from ..subscriptions.models import Subscriptions
from . import settlement
from .active_subscription import ActiveSubscription, Counts, serve
from .admission import Admission, Decisions
from .arrivals import Arrivals
from .batching import BatchQueue
from .gates.limits.leases import Leases
from .gates.limits.stop_reports import StopReports
from .in_flight import AllInFlight, InFlight
from .metrics.latencies import Latencies
from .outcome_events import OutcomeEvents
from .registry import Registry, Serve
from .states import Admitted, Arrived, Ended, Planning, Recorded, Running
from .threads.log_writer import LogWriter
from .threads.planning import Planner
from .threads.workers import Workers

log = logging.getLogger(__name__)

_ELSEWHERE = timedelta(seconds=2)
"""Between two looks at a delivery that another consumer of this machine has begun, or whose file is not writable."""

_LAST = timedelta(seconds=20)
"""How long handlers that were broken off have, after the limit of a stop, to end their commands."""


class Engine:
    """Serves subscriptions over one connection to the broker, until `stop`."""

    def __init__(  # noqa: PLR0913 - each is one collaborator
        self,
        broker: Broker,
        store: Store,
        subscriptions: Subscriptions,
        *,
        clock: Callable[[], datetime],
        settings: Settings | None = None,
        foundation: Topology | None = None,
        serve: Serve = serve,
        latencies: Latencies | None = None,
    ) -> None:
        """Serve *subscriptions*; *foundation* is what else the broker has to have, by default `topology.base()`."""
        self._broker, self._store, self._clock, self._breaking_off = broker, store, clock, threading.Event()
        self._registry = Registry(
            subscriptions, store, foundation=foundation, settings=settings, stopping=self._breaking_off, serve=serve
        )
        self._events = OutcomeEvents(settings, clock)
        self._batch = BatchQueue(broker, self._work, self._blame)
        self._admission = Admission(store, self._events, latencies)
        self._workers = Workers(
            broker,
            clock,
            self._breaking_off,
            ended=self._end,
            broken_off=self._broken_off,
            prefetch_changed=self._consume_again,
        )
        self._planner = Planner(broker, clock, self._batch.add, self._end)
        self._log_writer = LogWriter(broker, clock, self._end, self._write_again)
        self.in_flight = AllInFlight()
        self._arrivals = Arrivals(broker, clock, self.in_flight, self._batch, self._leave_if_done)
        self._is_stopping = False

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What became of the arrivals of each subscription."""
        return {each.name: each.counts for each in self._registry}

    @property
    def activity(self) -> Activity:
        """What the engine does now."""
        handled = sum(each.handled for each in self.counts.values())
        store, unserved = self._store.outage.reason, ", ".join(sorted(self._registry.unserved))
        problems = (store and f"the store cannot be used: {store}", unserved and f"not served: {unserved}")
        doing = f"serving {len(self.counts)} subscriptions"
        return Activity(doing, handled, len(self.in_flight), "deliveries", "; ".join(filter(None, problems)))

    def start(self) -> None:
        """Declare queues and bindings, and begin to consume, as soon as the broker runs.  Raises StoreError."""
        self._store.serve()
        self._broker.declare(self._registry.topology())
        for each in self._registry:
            self._consume(each)
        self._arrivals.defer_regularly(self._end_unstarted)
        Leases(self._broker, self._store, self._clock, self._registry).renew_regularly()
        reports = StopReports(self._broker, self._store, self._clock, self._registry, self._events.message)
        reports.publish_regularly()

    def _consume(self, subscription: ActiveSubscription) -> None:
        queue, prefetch = subscription.queue, subscription.way.prefetch
        self._broker.consume(queue, partial(self._arrivals.receive, subscription), prefetch=prefetch)

    def reload(self, subscriptions: Subscriptions) -> Change:
        """Serve *subscriptions* from now on instead of those before; to be called in the broker's thread.

        What is in flight ends as it began, and nothing is delivered twice.  A subscription that was removed keeps its
        queue.  Raises SubscriptionsError and StoreError, and then nothing has changed.
        """
        known = self._events.catalogues_now()
        replaced = self._registry.replace(subscriptions, all_anew=known != self._events.catalogues)
        self._events.catalogues = known
        self._broker.declare(replaced.wanted)
        for each in replaced.leaving:
            each.is_leaving = True
            self._broker.cancel(each.queue)
            self._close_if_left(each)
        for each in replaced.coming:
            self._consume(each)
        return replaced.change

    def stop(self, limit: timedelta = timedelta(seconds=30)) -> None:
        """Begin nothing new, let handlers run for at most *limit*, write their outcomes, and stop the broker."""
        if self._is_stopping:
            return
        self._is_stopping = self._arrivals.is_stopping = True
        log.info("consumer is stopping", extra={"deliveries": len(self.in_flight), "limit": str(limit)})
        for subscription in self._registry:
            self._broker.cancel(subscription.queue)
        for each in self.in_flight:
            match each.state:
                case Arrived() | Admitted() | Planning():
                    self._give_back(each)
                case Running(ticket=ticket) if ticket.cancel():
                    self._give_back(each)
        self._broker.later(limit, self._break_off)
        self._leave_if_done()

    def _break_off(self) -> None:
        log.warning("time to stop is over, interrupting running handlers", extra={"deliveries": len(self.in_flight)})
        self._breaking_off.set()
        for each in self.in_flight:
            if not isinstance(each.state, Running):
                self._give_back(each)
        self._broker.later(_LAST, self._abandon)

    def _abandon(self) -> None:
        """Stop the broker although handlers still run; the next consumer must not take that for a death."""
        self._release([each for each in self.in_flight if isinstance(each.state, Running)])
        self._broker.stop()

    def _broken_off(self, in_flight: InFlight) -> None:
        """Give *in_flight* back: a stop interrupted its handler, or it may have been called elsewhere."""
        if self._breaking_off.is_set():
            self._release([in_flight])
        self._give_back(in_flight)

    def _release(self, interrupted: list[InFlight]) -> None:
        try:
            self._admission.release(interrupted)
        except StoreError as error:
            log.warning("cannot record that attempts were interrupted", extra={"reason": str(error)})

    def _leave_if_done(self) -> None:
        if self._is_stopping and not self.in_flight and not self._arrivals.parking:
            for each in self._registry:
                each.close()
            self._broker.stop()

    def _close_if_left(self, subscription: ActiveSubscription) -> None:
        if subscription.is_leaving and not any(self.in_flight.of(subscription)):
            subscription.close()

    # A batch

    def _work(self, batch: list[InFlight]) -> None:
        # What was given back since it was put into the batch is not ours any more.
        ours = [each for each in batch if each in self.in_flight and self.in_flight.is_ahead(each)]
        found = self._admission.look_up({each: each.state for each in ours if isinstance(each.state, Arrived)})
        known: dict[InFlight, Ended | Recorded] = {**found.ended, **found.recorded}
        for each, state in known.items():
            each.state = state
        self._log_writer.submit({each: state for each, state in found.admitted.items() if each.is_logged})
        planned = {each: each.state for each in ours if isinstance(each.state, Admitted)}
        called = planned | {each: state for each, state in found.admitted.items() if not each.is_logged}
        unplanned = {each: state for each, state in called.items() if self._planner.needs(each, state)}
        self._planner.submit(unplanned)
        calls = {each: state for each, state in called.items() if each not in unplanned}
        ended = {each: each.state for each in ours if isinstance(each.state, Ended)}
        written = self._admission.write(calls, ended) if calls or ended else Decisions()
        for each, recorded in written.recorded.items():
            each.state = recorded
        for each in (*found.elsewhere, *written.elsewhere):
            each.state = Arrived(each.delivery)
            self._broker.later(_ELSEWHERE, partial(self._batch.add, each))
        for each, admitted in written.admitted.items():
            each.state = self._workers.submit(each, admitted)
        for subscription in written.stopped:
            self._end_queued(subscription)
        for each in ours:
            if isinstance(each.state, Recorded):
                self._act(each, each.state)

    def _write_again(self, in_flight: InFlight, running: Running) -> None:
        """Look at *in_flight* again later, whose file or syslog cannot be written now."""
        if self._is_stopping:
            self._give_back(in_flight)
            return
        in_flight.state = Arrived(running.delivery)
        self._broker.later(_ELSEWHERE, partial(self._batch.add, in_flight))

    def _act(self, in_flight: InFlight, recorded: Recorded) -> None:
        try:
            settlement.act(self._broker, in_flight, recorded, self._finish, self._events)
        except Exception as error:  # noqa: BLE001 - whatever it is, only this delivery is at fault
            self._blame(in_flight, error)

    def _blame(self, in_flight: InFlight, error: Exception) -> None:
        """Count *error* as a failed attempt of *in_flight*; make it a dead letter if that cannot be written."""
        if in_flight not in self.in_flight:
            return
        log.error("delivery failed in the consumer", exc_info=error, extra={"id": in_flight.key.event_id})
        match in_flight.state:
            case Arrived(delivery) | Admitted(delivery):
                outcome = raised(delivery, error, in_flight.subscription.definition.retry)
                self._end(in_flight, Arrived(delivery).fail(outcome, self._clock()))
            case Ended(outcome=outcome) | Recorded(outcome=outcome):
                reason = bounded(f"{type(outcome).__name__.lower()}, but that cannot be recorded: {error_text(error)}")
                settlement.set_aside(self._broker, in_flight, reason, self._events, partial(self._finish, in_flight))
            case Planning() | Running():
                pass  # its thread brings the outcome

    # Handlers

    def _end(self, in_flight: InFlight, ended: Ended) -> None:
        """Write in the next batch how *in_flight* ended."""
        in_flight.state = ended
        self._batch.add(in_flight)

    def _end_unstarted(self, in_flight: InFlight, running: Running) -> bool:
        """Return *in_flight* to the broker, unless its handler has been called: it comes back as the same attempt."""
        if not running.ticket.cancel():
            return False
        now, reason = self._clock(), f"all handlers of {in_flight.subscription.name} are busy"
        self._end(in_flight, running.end(running.admitted.wait(timedelta(), reason), now, now))
        return True

    def _consume_again(self, subscription: ActiveSubscription) -> None:
        """Consume with the prefetch that the subscription has now; what exceeds it may go to other consumers."""
        if subscription.is_leaving or self._is_stopping:
            return
        self._broker.cancel(subscription.queue)
        self._consume(subscription)
        self._end_queued(subscription, subscription.way.prefetch)

    def _end_queued(self, subscription: ActiveSubscription, kept: int = 0) -> None:
        running = [(each, each.state) for each in self.in_flight.of(subscription) if isinstance(each.state, Running)]
        for each, state in running[kept:]:
            self._end_unstarted(each, state)

    def _give_back(self, in_flight: InFlight) -> None:
        """Give all messages of *in_flight* back, unless that was done when the limit of a stop was reached."""
        if in_flight not in self.in_flight:
            return
        self._forget(in_flight)
        for arrival in in_flight.messages.arrivals + in_flight.messages.others:
            self._broker.requeue(arrival)
        self._leave_if_done()

    def _finish(self, in_flight: InFlight) -> None:
        """Acknowledge *in_flight*, unless it was given back: whoever gets it then finds its outcome."""
        if in_flight not in self.in_flight:
            return
        self._forget(in_flight)
        self._arrivals.ack_all(in_flight.messages.arrivals)
        for arrival in in_flight.messages.others:
            if in_flight.subscription.is_leaving:
                self._broker.requeue(arrival)  # its handler is closed: the subscription that replaces it gets it
            else:
                self._arrivals.receive(in_flight.subscription, arrival)
        self._leave_if_done()

    def _forget(self, in_flight: InFlight) -> None:
        if following := self.in_flight.remove(in_flight):
            self._batch.add(following)
        self._close_if_left(in_flight.subscription)
