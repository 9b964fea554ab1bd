"""The consumer's side of the store: which deliveries of a batch are attempted now, and what is written about them.

All of a batch is one transaction.  Where it fails nothing has changed, neither here nor in the store, and the batch is
worked on again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from ..deliveries import FOLDED, Delivery, Done, Outcome, Waiting, is_fold, is_replay, is_unheard, judge
from ..folds import Fold
from ..policies import consumer_deaths
from ..processes import cleanup
from ..store import attempts as table
from ..store import audit, fast_writes, rates_and_folds
from ..store.database import Store
from ..store.limits import taken_places
from .active_subscription import ActiveSubscription, Called, Logged
from .gates import open_breaker
from .gates.limits import leases, stopping
from .in_flight import InFlight
from .metrics.latencies import Latencies
from .outcome_events import OutcomeEvents
from .states import Admitted, Arrived, Ended, Recorded

Due = Mapping[InFlight, Admitted]
"""What is to be attempted."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """What becomes of deliveries: they are *admitted*, or *recorded*, or another consumer has them.

    *ended* are those whose consumer died, or that were cancelled while they waited; that is not written yet.
    *elsewhere* are those that another consumer of this machine is working on.  *stopped* are subscriptions that failed
    too often: nothing more of them begins.
    """

    admitted: dict[InFlight, Admitted] = field(default_factory=dict)
    ended: dict[InFlight, Ended] = field(default_factory=dict)
    recorded: dict[InFlight, Recorded] = field(default_factory=dict)
    elsewhere: list[InFlight] = field(default_factory=list)
    stopped: list[ActiveSubscription] = field(default_factory=list)


class _AlreadyKnown(Exception):
    """Some deliveries that were admitted as new were known after all."""


class Admission:
    """Says which deliveries are due, and writes what begins and what has ended."""

    def __init__(self, store: Store, events: OutcomeEvents, latencies: Latencies | None = None) -> None:
        """Write to *store* in the name of this process, also what *events* report; add durations to *latencies*."""
        self._store, self._events, self._latencies, self._clock = store, events, latencies, events.clock
        self._owner = cleanup.owner()

    def look_up(self, arrived: Mapping[InFlight, Arrived]) -> Decisions:
        """Return which of *arrived* are to be attempted, and the outcomes of those that have one.  Raises StoreError.

        What most probably comes for the first time is admitted without a look; `write` notices where that was wrong.
        """
        admitted: dict[InFlight, Admitted] = {}
        unknown: dict[InFlight, Arrived] = {}
        for each, state in arrived.items():
            if _comes_first(each, state.delivery):
                admitted[each] = state.admit_as_new(each.lane)
            else:
                unknown[each] = state
        found = self._look_up(unknown) if unknown else Decisions()
        return Decisions(admitted | found.admitted, found.ended, found.recorded, found.elsewhere)

    def _look_up(self, arrived: Mapping[InFlight, Arrived]) -> Decisions:
        with self._store.reading() as transaction:
            known = table.look_up(transaction, (each.key for each in arrived))
            given_up = {
                each: _result_of_dead_letter(transaction, state.delivery)
                for each, state in arrived.items()
                if state.delivery.attempt == 1 and state.delivery.replay not in ("", FOLDED)
            }
            folds = _folds(transaction, arrived)
        found = Decisions()
        for each, arrival in arrived.items():
            state = Arrived(replace(arrival.delivery, folded=folds[each])) if each in folds else arrival
            begun = known.get(each.key, {})
            number = state.delivery.attempt
            if number in begun and (cancelled := begun[number].cancelled):
                found.ended[each] = state.fail(cancelled, self._clock())
                continue
            # The message of a cancelled attempt may be missing yet: the one before it has to publish it.
            outcome = judge(number, {attempt: row.outcome for attempt, row in begun.items() if not row.cancelled})
            if outcome:
                is_old = number not in begun or begun[number].outcome != outcome
                found.recorded[each] = state.repeat(outcome, is_old=is_old)
                continue
            own, before = begun.get(number), begun.get(number - 1)
            owner = own.owner if own else ""
            if owner not in ("", self._owner) and cleanup.is_alive(owner):
                found.elsewhere.append(each)
                continue
            # An attempt that was broken off, or had to wait, knows as well what was done before.
            earlier = (own and own.result) or (before and before.result) or given_up.get(each, {})
            deaths = consumer_deaths.deaths_in(row.result for row in begun.values())
            if owner not in ("", self._owner) and _is_suspect(each):
                found.ended[each] = self._died(each, state.delivery, deaths + 1, earlier)
                continue
            if deaths:
                earlier = {**earlier, consumer_deaths.COUNT: deaths}
            is_begun = bool(owner or (own and own.result))
            waited = own is not None and isinstance(own.outcome, Waiting)
            found.admitted[each] = state.admit(owner, earlier, is_begun=is_begun, lane=each.lane, has_waited=waited)
        return found

    def write(self, due: Due, ended: Mapping[InFlight, Ended]) -> Decisions:
        """Write that *due* begin, unless a gate refuses, and how *ended* ended.  Raises StoreError.

        Return those that begin, the outcomes that are written now, and those that another consumer was quicker with.
        """
        try:
            return self._write(due, ended)
        except _AlreadyKnown:
            unseen = {each: Arrived(state.delivery) for each, state in due.items() if state.owner is None}
            found = self._look_up(unseen)
            seen = {each: state for each, state in due.items() if state.owner is not None}
            seen |= {each: state.with_plan_of(due[each]) for each, state in found.admitted.items()}
            written = self._write(seen, {**ended, **found.ended})
            elsewhere = written.elsewhere + found.elsewhere
            return Decisions(written.admitted, {}, found.recorded | written.recorded, elsewhere, written.stopped)

    def _died(self, in_flight: InFlight, delivery: Delivery, deaths: int, earlier: Mapping[str, object]) -> Ended:
        """Return the end of an attempt during which its consumer died."""
        policy, now = in_flight.subscription.definition.retry, self._clock()
        outcome = consumer_deaths.outcome_of(delivery.attempt, deaths, earlier, policy)
        return Ended(delivery, outcome, now, now, called=now)

    def release(self, interrupted: Iterable[InFlight]) -> None:
        """Write that a stop ended the attempts *interrupted*, so that nobody takes that for the death of a consumer.

        Raises StoreError.
        """
        now, outcome = self._clock(), Waiting(timedelta(), "interrupted by a stop", {"interrupted": True})
        rows = [self._row(each, each.delivery, now, now, outcome) for each in interrupted if _is_suspect(each)]
        if rows:
            with self._store.writing() as transaction:
                table.record(transaction, rows)

    def _write(self, due: Due, ended: Mapping[InFlight, Ended]) -> Decisions:
        now = self._clock()
        with self._store.writing() as transaction:
            # First: what has just failed may hold up what is due.
            _take_back(transaction, ended)
            ended = dict(zip(ended, open_breaker.learn(transaction, [*ended.values()], now), strict=True))
            stopped = [
                each.subscription
                for each, state in ended.items()
                if stopping.learn(transaction, each.subscription.definition, state, now)
            ]
            self._finish(transaction, ended)
            won, elsewhere = self._begin(transaction, due, now)
            # Only now: gates would refuse, or gather, a second time what another consumer has.
            admitted, refused = self._ask_gates(transaction, won, now)
            rows = [self._row(each, state.delivery, now, now, state.outcome) for each, state in refused.items()]
            table.record(transaction, rows)
            outcomes: list[tuple[InFlight, Ended | Recorded]] = [*ended.items(), *refused.items()]
            if reports := self._events.audited(outcomes):
                audit.append(transaction, reports)
        if self._latencies is not None:
            self._latencies.add(ended, self._clock())
        recorded = {each: state.record() for each, state in ended.items()}
        return Decisions(admitted, {}, recorded | refused, elsewhere, stopped)

    def _finish(self, transaction: Connection, ended: Mapping[InFlight, Ended]) -> None:
        without_row: list[table.Attempt] = []
        called: list[table.Attempt] = []
        audited: list[Delivery] = []
        for each, state in ended.items():
            row = self._row(each, state.delivery, state.started, state.ended, state.outcome)
            if not state.has_row:
                without_row.append(row)
            elif isinstance(way := each.subscription.way, Logged):
                without_row.append(row)
                if way.is_audited and isinstance(state.outcome, Done):
                    audited.append(state.delivery)
            else:
                called.append(row)
        if audited:
            audit.append(transaction, audited)
        with_places = (state for each, state in ended.items() if each.subscription.takes_places)
        leases.give_up(transaction, with_places, self._clock())
        table.record(transaction, without_row)
        if called:
            fast_writes.finish(transaction, called)

    def _begin(
        self, transaction: Connection, due: Due, now: datetime
    ) -> tuple[dict[InFlight, Admitted], list[InFlight]]:
        """Write that *due* begin; return those that do, and those that another consumer was quicker with."""
        won = {each: state for each, state in due.items() if state.owner is None}
        if won:
            rows = [self._row(each, state.delivery, now) for each, state in won.items()]
            if not fast_writes.begin(transaction, rows):
                raise _AlreadyKnown
        if len(won) == len(due):
            return won, []
        seen = {each: state.owner for each, state in due.items() if state.owner is not None}
        table.claim(transaction, [(self._row(each, due[each].delivery, now), owner) for each, owner in seen.items()])
        known = table.look_up(transaction, (each.key for each in seen))
        mine = table.Begun(self._owner, None)
        lost: list[InFlight] = []
        for each in seen:
            if known[each.key].get(due[each].delivery.attempt) == mine:
                won[each] = due[each]
            else:
                lost.append(each)
        return won, lost

    def _ask_gates(
        self, transaction: Connection, due: Due, now: datetime
    ) -> tuple[dict[InFlight, Admitted], dict[InFlight, Recorded]]:
        """Return what passes the gates of its subscription, and what they refuse."""
        admitted = dict(due)
        refused: dict[InFlight, Recorded] = {}
        asking: dict[ActiveSubscription, list[InFlight]] = defaultdict(list)
        for each, state in due.items():
            if each.subscription.gates.asks(state.delivery):
                asking[each.subscription].append(each)
        for subscription, theirs in asking.items():
            answers = subscription.gates.ask(transaction, [due[each] for each in theirs], now)
            for each in theirs:
                match answers.get(each.key):
                    case None:
                        pass
                    case Admitted() as changed:
                        admitted[each] = changed
                    case outcome:
                        refused[each] = admitted.pop(each).refuse(outcome)
            # Before the next subscription is asked, which may limit the same.
            passing = (admitted[each] for each in theirs if each in admitted)
            taken = [(state.key, place) for state in passing for place in state.places]
            taken_places.take(transaction, taken, self._owner, now)
        return admitted, refused

    def _row(
        self,
        in_flight: InFlight,
        delivery: Delivery,
        started: datetime,
        ended: datetime | None = None,
        outcome: Outcome | None = None,
    ) -> table.Attempt:
        subscription = in_flight.subscription
        lane = in_flight.lane if subscription.is_ordered else None
        return table.Attempt(delivery, self._owner, subscription.digest, started, ended, outcome, lane)


def _comes_first(in_flight: InFlight, delivery: Delivery) -> bool:
    """Say whether it is hardly known: the broker brings it for the first time, as its first attempt."""
    is_new = delivery.attempt == 1 and not delivery.replay and not in_flight.messages.origin.redelivered
    subscription = in_flight.subscription
    return is_new and not subscription.gates.asks_all and isinstance(subscription.way, Called)


def _is_suspect(in_flight: InFlight) -> bool:
    """Say whether its handler may be what a consumer died of."""
    way = in_flight.subscription.way
    return isinstance(way, Called) and not way.handler.is_contained


def _folds(transaction: Connection, arrived: Mapping[InFlight, Arrived]) -> dict[InFlight, Fold]:
    """Return what folds have gathered by now whose handler is asked for its plan: the gate comes after that."""
    found: dict[InFlight, Fold] = {}
    for each, state in arrived.items():
        if each.subscription.is_planned and is_fold(state.delivery.replay):
            head = state.delivery.event.id
            gathered = rates_and_folds.by_head(transaction, each.subscription.name, [head]).get(head)
            if gathered and gathered.count:
                found[each] = gathered.fold
    return found


def _result_of_dead_letter(transaction: Connection, delivery: Delivery) -> Mapping[str, object]:
    """Return the result of the attempt whose dead letter is replayed: what of it was done is not done again."""
    found = table.find(
        transaction, event_id=delivery.event.id, subscription=delivery.subscription, outcome="dead", limit=1
    )
    return found[0].result if found else {}


def _take_back(transaction: Connection, ended: Mapping[InFlight, Ended]) -> None:
    """Let the next event of its kind pass where one became a dead letter, or its condition was not met."""
    for each, state in ended.items():
        is_first = not is_replay(each.key.replay)
        if is_first and is_unheard(state.outcome) and each.subscription.definition.once_per:
            rates_and_folds.take_back(transaction, each.subscription.name, [each.key.event_id])
