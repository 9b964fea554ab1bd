"""The engine of alerts.

It reads the queue of the events that open and close alerts, of which the broker gives each to one consumer only.  A
batch is one transaction: what was observed, what alerts become, and the changes that are to be published.  Then the
events are acknowledged.  So after a kill at any moment an event is delivered again, and observed once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from router import database
from router.broker.interface import Arrival, Broker
from router.broker.topology import ALERTS, Topology, event_binding
from router.errors import InvalidEvent
from router.model.catalogue import Catalogues
from router.model.events import Event, Wire
from router.settings.sections.alerts_section import AlertsSettings

from ..alerts.active_rules import ActiveRules
from ..deliveries import LONGEST_REASON, bounded
from ..delivery.batching import BatchQueue
from ..errors import StoreError
from ..store import bindings
from ..store.database import Store
from .change_publisher import ChangePublisher
from .counting import EVERY, UNCOUNTED, Counting, since_boot
from .transactions import Seen, Transactions

log = logging.getLogger(__name__)

_PREFETCH = 200
_TICK = timedelta(seconds=1)
_IDLE = timedelta(seconds=1)
"""How long no old event arrives before a backlog counts as read."""

_AFTER_START = UNCOUNTED + timedelta(seconds=15)
"""When an engine that gets no events counts the time if no other one does."""

_RULES = timedelta(minutes=1)
"""How often alerts are looked for whose rule is gone."""

_PAUSE = timedelta(minutes=5)
"""The wait before the broker delivers an event again that cannot be worked on."""


@dataclass(slots=True)
class Counts:
    """What became of what the engine received; *lag* is the age of the last event when it was written, in seconds.

    *left_out* are alerts that events would have opened beyond the limit for one event.
    """

    received: int = 0
    unreadable: int = 0
    opened: int = 0
    closed: int = 0
    left_out: int = 0
    lag: float = 0.0


class AlertEngine:
    """Keeps alerts over one connection to the broker, until `stop`; all calls are in the broker's thread."""

    def __init__(  # noqa: PLR0913 - each is one collaborator
        self,
        broker: Broker,
        store: Store,
        rules: ActiveRules,
        *,
        clock: Callable[[], datetime],
        settings: AlertsSettings | None = None,
        catalogues: Catalogues,
        wire: Wire = "structured",
        steady: Callable[[], int] = since_boot,
    ) -> None:
        """Keep the alerts of *rules* in *store*; their changes are events of *catalogues*, in the content mode *wire*.

        *clock* gives the time of day, *steady* the milliseconds since the host was booted.
        """
        self._broker, self._store, self._clock = broker, store, clock
        self._settings = settings or AlertsSettings()
        self._counting = Counting(f"{os.uname().nodename} {os.getpid()} {uuid4().hex[:8]}", clock, steady)
        self._work = Transactions(store, self._counting, clock, catalogues, rules)
        self._publisher = ChangePublisher(broker, store, clock, wire, lambda: self._counting.is_ours)
        self._batch = BatchQueue(broker, self._take, self._blame)
        self._not_idle: Callable[[], None] = lambda: None
        self._next_tick: Callable[[], None] = lambda: None
        self._rules_looked: datetime | None = None
        self._is_stopping = False
        self.counts = Counts()

    @property
    def published(self) -> int:
        """How many changes the broker has got from this engine."""
        return self._publisher.published

    @property
    def is_active(self) -> bool:
        """Whether this engine counts the time, and not another one."""
        return self._counting.is_ours

    def start(self) -> None:
        """Bind the queue, and begin to consume, as soon as the broker runs.  Raises StoreError."""
        self._broker.declare(self._topology())
        self._broker.consume(ALERTS, self._batch.add, prefetch=_PREFETCH)
        self._publisher.start()
        # What was held back before a restart is told too, unless another engine reads on.
        self._not_idle = self._broker.later(_AFTER_START, self._tell_held)
        self._next_tick = self._broker.later(_TICK, self._tick)

    @property
    def catalogues(self) -> Catalogues:
        """The event types by which changes are made."""
        return self._work.catalogues

    def reload(self, rules: ActiveRules, catalogues: Catalogues) -> None:
        """Use *rules* and *catalogues* from now on.  Raises StoreError, and then nothing has changed."""
        wanted = self._topology(rules)
        self._work.rules, self._work.catalogues = rules, catalogues
        self._rules_looked = None
        self._broker.declare(wanted)

    def unbind(self) -> None:
        """Have no events kept for alerts any more.  Raises StoreError."""
        self._broker.declare(self._topology())

    def stop(self) -> None:
        """Receive no more events; those not yet written stay on the broker."""
        self._is_stopping = True
        self._broker.cancel(ALERTS)
        for cancel in (self._not_idle, self._next_tick, self._publisher.stop):
            cancel()

    def _topology(self, rules: ActiveRules | None = None) -> Topology:
        patterns = (rules or self._work.rules).patterns
        with self._store.writing() as transaction:
            stale = bindings.remember(transaction, ALERTS, patterns)
        return Topology(
            bindings=tuple(event_binding(ALERTS, each) for each in patterns),
            stale=tuple(event_binding(ALERTS, each) for each in sorted(stale)),
        )

    # Events

    def _take(self, arrivals: list[Arrival]) -> None:
        events = [*self._events(arrivals)]
        seen = [Seen(each, self._work.rules.seen(each)) for each in events]
        done = self._work.take(seen, self._held_before())
        self._publisher.publish(done.changes)
        for arrival in arrivals:
            self._broker.ack(arrival)
        self._count(events, len(arrivals), done.opened, done.closed)
        self.counts.left_out += sum(one.left_out for each in seen for one in each.sightings)
        if done.is_backlog:
            self._wait_until_idle()

    def _events(self, arrivals: Sequence[Arrival]) -> Iterator[Event]:
        for each in arrivals:
            try:
                yield Event.from_json(each.body)
            except InvalidEvent as error:
                self.counts.unreadable += 1
                facts = {"id": each.id[:LONGEST_REASON], "reason": bounded(str(error))}
                log.error("what is no event cannot open or close alerts", extra=facts)  # noqa: TRY400 - complete

    def _count(self, events: Sequence[Event], received: int, opened: int, closed: int) -> None:
        counts = self.counts
        counts.received += received
        counts.opened += opened
        counts.closed += closed
        if events:
            counts.lag = max(0.0, (self._clock() - events[-1].moment).total_seconds())

    def _blame(self, arrival: Arrival, error: Exception) -> None:
        """Leave *arrival* to the broker, whatever is wrong with it: others are worked on, and this one is not lost."""
        facts = {"id": arrival.id[:LONGEST_REASON], "reason": bounded(str(error)), "pause": str(_PAUSE)}
        log.error("an event cannot open or close alerts, will try again", exc_info=error, extra=facts)
        self._broker.later(_PAUSE, lambda: self._broker.requeue(arrival))

    def _held_before(self) -> datetime:
        return self._clock() - self._settings.only_end_after

    # Time

    def _wait_until_idle(self) -> None:
        self._not_idle()
        self._not_idle = self._broker.later(_IDLE, self._tell_held)

    def _tell_held(self) -> None:
        """Tell what is still open after a backlog was read."""
        if not self._counting.is_ours:
            return
        is_more = True
        with suppress(StoreError), database.within(database.LIMIT):
            done = self._work.tell_held()
            is_more = done.is_more
            self._publisher.publish(done.changes)
        if is_more and not self._is_stopping:
            self._wait_until_idle()

    def _tick(self) -> None:
        # The store logs what fails.
        wait = EVERY
        with suppress(StoreError), database.within(database.LIMIT):
            done = self._work.do_due()
            wait = max(done.wait, _TICK) if not done.changes else done.wait
            self._publisher.publish(done.changes)
            self._end_rules()
        if not self._is_stopping:
            self._next_tick = self._broker.later(wait, self._tick)

    def _end_rules(self) -> None:
        """Close alerts whose rule is gone: nothing else would close them."""
        now = self._clock()
        if self._rules_looked and abs(now - self._rules_looked) < _RULES:
            return
        if self._counting.is_ours:
            done = self._work.end_rules()
            self._publisher.publish(done.changes)
            self._rules_looked = None if done.is_more else now
