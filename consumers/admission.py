"""What of a batch is attempted now, and what is written of it: the consumer's side of the store.

All of a batch is one transaction.  Where that fails nothing has changed, neither here nor there, and the batch is
worked on again.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy.engine import Connection

from . import children
from .breakers import Breaker
from .deliveries import FOLDED, DeadLetter, Done, Outcome, Retry, is_fold, judge
from .flights import Flight
from .gates import Refused, ask_all, folded
from .servings import Called, Logged, Serving
from .store import Store, audit, breakers, bulk, storms
from .store import deliveries as table

Due = Mapping[Flight, str | None]
"""What is to be attempted, with the owner of the row that says it has begun before; empty: none.

None: nobody has looked, since it comes for the first time, as nearly all do.  Whether that is so is seen in writing.
"""


class _Met(Exception):
    """Some that nobody looked for were known after all."""


class Admission:
    """Says which flights are due, and writes what begins and what has ended."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        """Write to *store* in the name of this process."""
        self._store, self._clock = store, clock
        self._owner = children.owner()

    def due(self, fresh: Sequence[Flight]) -> tuple[dict[Flight, str | None], list[Flight]]:
        """Return which of *fresh* are to be attempted, and those that another consumer of this machine is at.

        The others get the outcome that is recorded.  Raises StoreError.
        """
        guessed: dict[Flight, str | None] = {flight: None for flight in fresh if _comes_first(flight)}
        looked_up, elsewhere = self._look_up([flight for flight in fresh if flight not in guessed])
        return guessed | looked_up, elsewhere

    def _look_up(self, fresh: Sequence[Flight]) -> tuple[dict[Flight, str | None], list[Flight]]:
        due: dict[Flight, str | None] = {}
        elsewhere: list[Flight] = []
        if not fresh:
            return due, elsewhere
        with self._store.reading() as transaction:
            known = table.look_up(transaction, (flight.key for flight in fresh))
            given_up = {flight: _given_up(transaction, flight) for flight in fresh if _is_replayed(flight)}
        for flight in fresh:
            begun = known.get(flight.key, {})
            number = flight.delivery.attempt
            flight.outcome = judge(number, {each: row.outcome for each, row in begun.items()})
            if flight.outcome:
                flight.is_recorded = True
                flight.is_old = number not in begun or begun[number].outcome != flight.outcome
                flight.serving.counts.repeated += 1
                continue
            own, before = begun.get(number), begun.get(number - 1)
            owner = own.owner if own else ""
            if owner not in ("", self._owner) and children.is_alive(owner):
                elsewhere.append(flight)
                continue
            # What was done before is known also to an attempt that was broken off, or had to wait.
            result = (own and own.result) or (before and before.result) or given_up.get(flight, {})
            flight.is_begun = bool(owner or (own and own.result))
            flight.delivery = dataclasses.replace(flight.delivery, repeated=bool(owner), earlier=result)
            due[flight] = owner
        return due, elsewhere

    def write(self, due: Due, ended: Sequence[Flight]) -> tuple[list[Flight], list[Flight]]:
        """Write that *due* begin, unless a gate refuses, and how *ended* ended.

        Return those that begin, and those that another consumer was quicker with; what was refused has its outcome.
        Raises StoreError.
        """
        try:
            return self._write(due, ended)
        except _Met:
            found, elsewhere = self._look_up([flight for flight, owner in due.items() if owner is None])
            known = {flight: owner for flight, owner in due.items() if owner is not None}
            won, lost = self._write(known | found, ended)
            return won, lost + elsewhere

    def _write(self, due: Due, ended: Sequence[Flight]) -> tuple[list[Flight], list[Flight]]:
        now = self._clock()
        refused: Refused = {}
        with self._store.writing() as transaction:
            # First: what has just failed may keep back what is due.
            _learn(transaction, ended, now)
            self._finish(transaction, ended, now)
            won, lost = self._begin(transaction, due, now)
            # Only now: what another consumer has would be refused, or gathered, a second time.
            for serving, flights in _by_serving(won).items():
                refused |= ask_all(serving.gates or [partial(folded, serving.name, None)], transaction, flights, now)
            table.record(transaction, (self._attempt(flight, now, outcome) for flight, outcome in refused.items()))
        for flight, outcome in refused.items():
            flight.outcome = outcome
        for flight in (*ended, *refused):
            flight.is_recorded = True
        return [flight for flight in won if flight not in refused], lost

    def _finish(self, transaction: Connection, ended: Sequence[Flight], now: datetime) -> None:
        if audited := [each.delivery for each in ended if _is_audited(each)]:
            audit.append(transaction, audited)
        logged = [flight for flight in ended if isinstance(flight.serving.way, Logged)]
        table.record(transaction, [self._attempt(flight, now, flight.outcome) for flight in logged])
        called = [flight for flight in ended if not isinstance(flight.serving.way, Logged)]
        if called:
            bulk.finish(transaction, [self._attempt(flight, now, flight.outcome) for flight in called])

    def _begin(self, transaction: Connection, due: Due, now: datetime) -> tuple[list[Flight], list[Flight]]:
        """Write that *due* begin; return those that do, and those that another consumer was quicker with."""
        new = [flight for flight, owner in due.items() if owner is None]
        if new and not bulk.begin(transaction, [self._attempt(flight, now) for flight in new]):
            raise _Met
        known = {flight: owner for flight, owner in due.items() if owner is not None}
        table.claim(transaction, ((self._attempt(flight, now), owner) for flight, owner in known.items()))
        won = self._won(transaction, known)
        return new + won, [flight for flight in known if flight not in won]

    def forget(self, before: datetime) -> None:
        """Forget what passed a rate, and what was told, *before*, a portion of it.  Raises StoreError."""
        with self._store.writing() as transaction:
            storms.forget(transaction, before)

    def _attempt(self, flight: Flight, now: datetime, outcome: Outcome | None = None) -> table.Attempt:
        return table.Attempt(
            flight.delivery,
            self._owner,
            flight.serving.digest,
            flight.started or now,
            (flight.ended or now) if outcome else None,
            outcome,
            flight.lane if flight.serving.is_counted else None,
        )

    def _won(self, transaction: Connection, begun: Mapping[Flight, str]) -> list[Flight]:
        """Return those of *begun* whose row is ours now."""
        if not begun:
            return []
        known = table.look_up(transaction, (flight.key for flight in begun))
        mine = table.Begun(self._owner, None)
        return [flight for flight in begun if known[flight.key].get(flight.delivery.attempt) == mine]


def _comes_first(flight: Flight) -> bool:
    """Say whether it is hardly known: the broker brings it for the first time, as its first attempt."""
    delivery = flight.delivery
    is_new = delivery.attempt == 1 and not delivery.replay and not flight.origin.redelivered
    return is_new and not flight.serving.gates and isinstance(flight.serving.way, Called)


def _is_replayed(flight: Flight) -> bool:
    return flight.delivery.attempt == 1 and flight.delivery.replay not in ("", FOLDED)


def _given_up(transaction: Connection, flight: Flight) -> Mapping[str, object]:
    """Return the result of the attempt whose dead letter is replayed: what of it was done is not done again."""
    key = flight.key
    found = table.find(transaction, event_id=key.event_id, subscription=key.subscription, outcome="dead", limit=1)
    return found[0].result if found else {}


def _by_serving(due: Sequence[Flight]) -> Mapping[Serving, list[Flight]]:
    """Return the flights of *due* that have gates before them, or tell of a fold, by serving."""
    found: dict[Serving, list[Flight]] = defaultdict(list)
    for flight in due:
        if flight.serving.gates or (flight.delivery.replay and is_fold(flight.delivery.replay)):
            found[flight.serving].append(flight)
    return found


def _is_audited(flight: Flight) -> bool:
    return isinstance(flight.serving.way, Logged) and flight.serving.way.is_audited


def _learn(transaction: Connection, ended: Sequence[Flight], now: datetime) -> None:
    """Remember what outcomes say of targets, and let the next of its kind pass where one came to nothing."""
    for flight in ended:
        subscription, outcome = flight.serving.subscription, flight.outcome
        if isinstance(outcome, DeadLetter) and subscription.once_per:
            storms.take_back(transaction, subscription.name, [flight.delivery.event.id])
    met = {target for flight in ended for target in flight.targets}
    if not met:
        return
    known = breakers.find(transaction, met)
    closed: set[str] = set()
    for flight in ended:
        match flight.outcome:
            case Done():
                closed |= known.keys() & set(flight.targets)
            case Retry(reason=reason, blamed=blamed) | DeadLetter(reason=reason, blamed=blamed):
                for target in {*blamed} & {*flight.targets}:
                    before = known.get(target) or Breaker(target)
                    if before.opened and flight.called and flight.called <= before.opened:
                        # One of those that were under way when it opened: says nothing that is not known.
                        continue
                    known[target] = before.after_failure(now, reason[:200])
                    closed.discard(target)
            case _:
                pass
    if closed:
        breakers.close(transaction, closed)
    breakers.write(transaction, [each for target, each in known.items() if target not in closed])
