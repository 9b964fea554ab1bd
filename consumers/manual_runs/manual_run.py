"""Runs one delivery by hand: the gates of its subscription are asked in the store, then its handler is called here.

What consumers write about a delivery is written, too, and the audit has who asked for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta

from router.broker.interface import Arrival
from router.programs.regular_look import regularly

from ..deliveries import DeadLetter, Delivery, Outcome, Retry, Waiting, has_job
from ..delivery.active_subscription import ActiveSubscription, Called
from ..delivery.admission import Admission
from ..delivery.in_flight import BrokerMessages, InFlight
from ..delivery.outcome_events import OutcomeEvents
from ..delivery.states import Admitted, Arrived, Ended
from ..delivery.threads import planning, workers
from ..errors import StoreError
from ..processes import cleanup
from ..processes.job_runner import id_of
from ..store import approvals, audit
from ..store.database import Store
from ..store.limits import taken_places
from ..verbs.action.verb import BoundAction

_LOOK = timedelta(seconds=1)
"""Between two looks at what makes the run wait."""


class ManualRun:
    """One run of an action by hand."""

    def __init__(
        self,
        active: ActiveSubscription,
        delivery: Delivery,
        store: Store,
        events: OutcomeEvents,
        clock: Callable[[], datetime],
    ) -> None:
        """Run *delivery* with the handler and the gates of *active*, and write to *store*; *events* makes reports."""
        self._active, self._delivery, self._store, self._clock = active, delivery, store, clock
        self._admission = Admission(store, events)
        # No broker has brought it: a message that comes again is looked up in the store before it is admitted.
        event = delivery.event
        message = Arrival("", "", delivery.topic, delivery.body, event.id, None, {}, redelivered=True, tag=None)
        messages = BrokerMessages(message, clock())
        self._in_flight = InFlight(delivery.key, active, messages, Arrived(delivery), active.lane_of(event))

    def run(self, stopping: threading.Event, until: datetime | None, waits: Callable[[str], None]) -> Outcome:
        """Run it, and return its outcome; a Waiting if it did not begin, or its job did not end, until then.

        *waits* is called with each new reason why it waits.  It waits until *stopping* is set, which also ends what has
        begun, or until the moment *until*.  Raises StoreError.
        """
        with self._store.writing() as transaction:
            audit.append(transaction, [self._delivery])
        told = ""
        while True:
            entered = self._enter()
            outcome = self._call(entered, stopping) if isinstance(entered, Admitted) else entered
            if not isinstance(outcome, Waiting):
                return outcome
            if outcome.reason != told:
                told = outcome.reason
                waits(told)
            is_stopped = stopping.wait(min(outcome.delay, _LOOK).total_seconds())
            if is_stopped or (until is not None and self._clock() >= until):
                if has_job(outcome.result):
                    return outcome  # the job goes on by itself
                return self._give_up("stopped" if is_stopped else "did not wait", told, outcome.result)

    def _enter(self) -> Admitted | Outcome:
        """Write that the attempt begins, unless a gate refuses; return the outcome if one does."""
        arrived, way = Arrived(self._active.with_facts(self._delivery)), self._active.way
        assert isinstance(way, Called)  # noqa: S101 - for the reader: an action is no log
        found = self._admission.look_up({self._in_flight: arrived})
        if self._in_flight in found.recorded:
            return found.recorded[self._in_flight].outcome
        if cancelled := found.ended.get(self._in_flight):
            return self._admission.write({}, {self._in_flight: cancelled}).recorded[self._in_flight].outcome
        admitted = found.admitted[self._in_flight]
        # Each time: after the first nodes, others are left.
        planned = planning.complete(self._in_flight, admitted, way)
        decided = self._admission.write({self._in_flight: planned}, {})
        if self._in_flight in decided.recorded:
            return decided.recorded[self._in_flight].outcome
        if self._in_flight in decided.elsewhere:
            return self._enter()  # somebody has cancelled it just now
        return decided.admitted[self._in_flight]

    def _call(self, admitted: Admitted, stopping: threading.Event) -> Outcome:
        started, active = self._clock(), self._active
        delivery = active.with_facts(admitted.delivery)
        with self._keeping_places():
            found = workers.call(delivery, active.way.handler, active.definition, stopping)
        outcome = self._stopped(delivery) if found is None else _final(found)
        self._record(outcome, started, admitted.targets)
        return outcome

    def _stopped(self, delivery: Delivery) -> Outcome:
        """Return the outcome of a call that a stop ended: its command was killed, unless it is a job."""
        verb = self._active.definition.verb
        if isinstance(verb, BoundAction) and (verb.definition.run.detach or verb.definition.run.steps):
            job = id_of(delivery.mark)
            return Waiting(timedelta(), f"job {job} goes on", {"job": job})
        return DeadLetter(f"stopped by {self._by}")

    def _give_up(self, what: str, reason: str, result: Mapping[str, object]) -> Outcome:
        """Write that the person who asked *what* while it waited because of *reason*, and take the question back.

        *result* is what was done before.
        """
        with self._store.writing() as transaction:
            question = approvals.identity(self._delivery.key)
            approvals.answer(transaction, question, "refused", self._by, self._clock())
        told = f"{self._by} {what}: {reason}"
        self._record(DeadLetter(told, result), self._clock())
        return Waiting(timedelta(), told, result)

    def _record(self, outcome: Outcome, started: datetime, targets: tuple[str, ...] = ()) -> None:
        ended = Ended(self._delivery, outcome, started, self._clock(), called=started, targets=targets)
        self._admission.write({}, {self._in_flight: ended})

    def _keeping_places(self) -> AbstractContextManager[None]:
        """Renew the places of the run until the block ends, as a consumer does."""

        def renew() -> None:
            with suppress(StoreError), self._store.writing() as transaction:
                taken_places.renew(transaction, cleanup.owner(), self._clock())

        return regularly("places", taken_places.RENEWAL, renew)

    @property
    def _by(self) -> str:
        return str(self._delivery.event.data.get("by"))


def _final(outcome: Outcome) -> Outcome:
    """Return *outcome*, or a dead letter where it asks for another attempt: there is none."""
    if isinstance(outcome, Retry):
        return DeadLetter(outcome.reason, outcome.result, outcome.blamed)
    return outcome
