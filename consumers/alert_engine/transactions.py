"""The transactions of the engine: each reads what it needs, works on it in memory, and writes the result.

A transaction costs the same number of statements however many alerts are open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.engine import Connection

from router.errors import InvalidEvent
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.model.ids import derived_id

from ..alerts.active_rules import ActiveRules, EarlierKey
from ..alerts.alert_row import AlertRow, key_of
from ..alerts.life.observations import Observation
from ..alerts.life.policy import Policy
from ..alerts.life.subject import Subject
from ..alerts.life.surroundings import suppressors
from ..alerts.life.unit_of_work import Times, UnitOfWork
from ..alerts.sightings import Sighting
from ..deliveries import DEEPEST, depth_of
from ..store.alerts import outbox, subjects, work
from ..store.database import Store, lock
from .counting import EVERY, Counting
from .due_work import DueWork

log = logging.getLogger(__name__)

PORTION = 200
"""The most alerts that one transaction of the timers looks at."""

MOST_SEEN = 400
"""The most of what events open and close that one transaction takes in: others wait for the store meanwhile."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, and what it opens and closes."""

    event: Event
    sightings: Sequence[Sighting]


@dataclass(frozen=True, slots=True)
class Done:
    """What a transaction wrote: the *changes* to publish, each with its id and its event as JSON.

    If it *is_backlog*, alerts are held back until nothing is left to read.  There *is_more* to do at once.
    """

    changes: Sequence[tuple[str, bytes]] = ()
    opened: int = 0
    closed: int = 0
    is_backlog: bool = False
    is_more: bool = False
    wait: timedelta = EVERY
    """How long nothing is due."""


class Transactions:
    """The transactions of one engine.  Each raises StoreError, and then nothing was written."""

    def __init__(
        self,
        store: Store,
        counting: Counting,
        clock: Callable[[], datetime],
        catalogues: Catalogues,
        rules: ActiveRules,
    ) -> None:
        """Work on the alerts of *rules* in *store*, in the time that *counting* counts."""
        self._store, self._counting, self._clock = store, counting, clock
        self.catalogues = catalogues
        """The event types by which changes are made."""
        self._captured: datetime | None = None
        self.rules = rules

    @property
    def rules(self) -> ActiveRules:
        """The rules in force."""
        return self._rules

    @rules.setter
    def rules(self, rules: ActiveRules) -> None:
        self._rules = rules
        self._policies: Mapping[str, Policy] = {name: Policy.of(each) for name, each in rules.rules.items()}
        self._suppressors = suppressors(rules.rules)
        self._earlier: frozenset[EarlierKey] | None = None

    def take(self, seen: Sequence[Seen], held_before: datetime) -> Done:
        """Work on events in the order of arrival; openings captured before *held_before* are not told yet.

        It is done in portions, each of them a transaction.  If one of them fails, those before are written: whoever
        delivers the same events again makes up for the rest.
        """
        done = [self._take_portion(each, held_before) for each in _portions(seen)]
        return Done(
            [change for each in done for change in each.changes],
            sum(each.opened for each in done),
            sum(each.closed for each in done),
            is_backlog=any(each.is_backlog for each in done),
        )

    def _take_portion(self, seen: Sequence[Seen], held_before: datetime) -> Done:
        observed = [(each, one) for each in seen for one in each.sightings if self._is_shallow(each.event, one)]
        captured = max((each.event.moment for each in seen), default=None)
        self._captured = max(filter(None, (captured, self._captured)), default=None)
        new = dict(map(self._subject, (one for _, one in observed)))
        with self._store.writing() as transaction:
            lock(transaction)
            passed = self._counting.take(transaction)
            earlier = self._closing_earlier(transaction, seen)
            found = subjects.read(transaction, [*new, *(_key(one) for _, one in earlier)], new.values(), self._policies)
            observed += [(each, one) for each, one in earlier if (known := found.get(_key(one))) and known.row]
            unit = self._unit(transaction, found, passed, held_before, {one.node for _, one in observed})
            for each, one in observed:
                unit.observe(_key(one), self._observation(each.event, one))
            is_backlog = any(each.event.moment < held_before for each in seen)
            return replace(self._written(transaction, unit), is_backlog=is_backlog)

    def _closing_earlier(self, transaction: Connection, seen: Sequence[Seen]) -> Sequence[tuple[Seen, Sighting]]:
        """Return what *seen* events close that opened before `by` of its rule was changed: nothing else closes that."""
        if self._earlier is None:
            self._earlier = self.rules.earlier_keys(subjects.keys_in_use(transaction))
        if not self._earlier:
            return []
        return [(each, one) for each in seen for one in self.rules.closing_earlier(each.event, self._earlier)]

    def tell_held(self) -> Done:
        """Tell what was held back and is still open."""
        with self._store.writing() as transaction:
            lock(transaction)
            keys = outbox.held_keys(transaction, PORTION)
            if not keys:
                return Done()
            unit = self._unit(transaction, self._read(transaction, keys), self._counting.take(transaction))
            timers = self._timers(transaction, unit)
            for key in keys:
                subject = unit.subjects[key]
                timers.close_quiet(subject)
                unit.tell(subject)
            return self._written(transaction, unit, is_more=len(keys) >= PORTION)

    def do_due(self) -> Done:
        """Do what is due, if it is up to this engine to count the time."""
        with self._store.reading() as transaction:
            found = self._counting.look(transaction)
            if found is None:
                return Done()
            passed, is_to_be_written = found
            due = outbox.next_due(transaction)
        if not is_to_be_written and (due is None or due > passed):
            return Done(wait=_wait(due, passed))
        with self._store.writing() as transaction:
            lock(transaction)
            passed = self._counting.take(transaction)
            quiet = outbox.quiet_keys(transaction, passed, PORTION)
            keys = outbox.due_alerts(transaction, passed, PORTION)
            unit = self._unit(transaction, self._read(transaction, [*quiet, *keys]), passed)
            timers = self._timers(transaction, unit)
            for key in quiet:
                timers.close_quiet(unit.subjects[key])
            for key in keys:
                timers.look(unit.subjects[key])
            done = self._written(transaction, unit)
            return replace(done, wait=_wait(outbox.next_due(transaction), passed))

    def end_rules(self) -> Done:
        """Close alerts whose rule is gone."""
        with self._store.reading() as transaction:
            if not outbox.keys_of_other_rules(transaction, self.rules.rules, 1):
                return Done()
        now = self._clock()
        with self._store.writing() as transaction:
            lock(transaction)
            keys = outbox.keys_of_other_rules(transaction, self.rules.rules, PORTION)
            unit = self._unit(transaction, self._read(transaction, keys), self._counting.take(transaction))
            for key in keys:
                subject = unit.subjects[key]
                moment = subject.after_all(now)
                row = subject.row
                id_ = derived_id(row.id if row else key, "rule is gone")
                gone = Observation(id=id_, at=moment, kind="close", cause="rule", comment="its rule is gone")
                unit.observe(key, gone)
            return self._written(transaction, unit, is_more=len(keys) >= PORTION)

    def _read(self, transaction: Connection, keys: Sequence[str]) -> dict[str, Subject]:
        return subjects.read(transaction, keys, policies=self._policies)

    def _unit(
        self,
        transaction: Connection,
        found: dict[str, Subject],
        passed: int,
        held_before: datetime | None = None,
        nodes: Iterable[str] = (),
    ) -> UnitOfWork:
        around = subjects.around(transaction, found, self._suppressors, self._captured, {*nodes})
        return UnitOfWork(Times(self._clock(), passed, self._captured, held_before), found, around)

    def _written(self, transaction: Connection, unit: UnitOfWork, *, is_more: bool = False) -> Done:
        changes = work.write(transaction, unit, self.catalogues)
        names = [each.name for each in unit.changes if not each.why]
        opened, closed = names.count("alertOpened"), names.count("alertClosed")
        return Done(changes, opened, closed, is_more=is_more)

    def _timers(self, transaction: Connection, unit: UnitOfWork) -> DueWork:
        return DueWork(unit, self._asked, partial(subjects.has_open_members, transaction))

    def _asked(self, subject: Subject, row: AlertRow) -> datetime | None:
        opening = subject.observed(row.last_opening)
        if opening is None or opening.body is None:
            return None
        try:
            event = Event.from_json(opening.body)
        except InvalidEvent:
            return None
        return self.rules.fact_says_closed(row.rule, event, row.about)

    def _subject(self, one: Sighting) -> tuple[str, Subject]:
        key = _key(one)
        return key, Subject(key, one.rule, one.cluster, one.about, self._policies[one.rule])

    def _observation(self, event: Event, one: Sighting) -> Observation:
        asks_facts = self._policies[one.rule].asks_facts
        return Observation.of(event, one, depth=depth_of(event) + 1, asks_facts=asks_facts)

    @staticmethod
    def _is_shallow(event: Event, one: Sighting) -> bool:
        if not one.opens or depth_of(event) < DEEPEST:
            return True
        log.warning(
            "an event of alerts that follow one another opens no more", extra={"rule": one.rule, "id": event.id}
        )
        return False


def _key(one: Sighting) -> str:
    return key_of(one.rule, one.cluster, one.about)


def _portions(seen: Sequence[Seen]) -> Iterator[Sequence[Seen]]:
    """Yield *seen* in their order, so that a portion has at most `MOST_SEEN` sightings; an event may be in several."""
    portion: list[Seen] = []
    room = MOST_SEEN
    for each in seen:
        rest = each.sightings
        while len(rest) > room:
            yield [*portion, Seen(each.event, rest[:room])]
            portion, rest, room = [], rest[room:], MOST_SEEN
        portion.append(Seen(each.event, rest))
        room -= len(rest)
    if portion:
        yield portion


def _wait(due: int | None, passed: int) -> timedelta:
    """Return how long to wait until the next look, by when something is *due*."""
    return EVERY if due is None else min(EVERY, max(timedelta(), timedelta(milliseconds=due - passed)))
