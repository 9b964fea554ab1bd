"""The router: takes records from the broker and publishes events.

Of the records that have arrived, some of each queue are a batch, and one transaction.  The router acknowledges a record
only after its result is safe: in the state and, if it leads to an event or a rejection, at the broker too.
While the state cannot be written, the batch waits and is retried; the broker holds back records beyond the prefetch.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from .. import database
from ..broker.interface import Arrival, Broker
from ..errors import StateError
from ..model.catalogue import Catalogues
from ..model.events import Event, Wire
from ..model.topics import ABSENT
from ..programs.health import Activity
from .decisions import Decisions, Rules, decide, rejected
from .foreign_refusals import Watch
from .gap_detection import NodeState, Place, Seen, overdue, silent
from .ingress.fair_reader import Ingress
from .ingress.turns import RECORDS
from .metrics.measures import Measures
from .publishing import Publisher
from .reports import finding_reports
from .reports.finding_events import finding_event
from .reports.finding_reports import FindingTallies, Found, Placed
from .reports.kept_bodies import KeptBodies, dismissed, keep
from .reports.rejection_events import rejection_event
from .reports.rejection_reports import Rejected, Report, Tallies, count, due
from .state import Changes, State, Transaction

log = logging.getLogger(__name__)

_FIRST_PAUSE = timedelta(milliseconds=200)
_LONGEST_PAUSE = timedelta(seconds=5)
_LONGEST_TICK = timedelta(seconds=10)
_AHEAD = 3 * RECORDS
"""So many events unsettled are enough: the broker confirms some while the router decides on the next.

What is published waits in its order; whose turn is next is decided only among what is not.
"""


def _now() -> datetime:
    return datetime.now(UTC)


class Router:
    """One router with one broker and one state; a second router on the same queue is a hot standby."""

    def __init__(  # noqa: PLR0913 - each is one setting
        self,
        *,
        broker: Broker,
        state: State,
        catalogues: Catalogues,
        window: timedelta = timedelta(seconds=120),
        trusted: Collection[str] = frozenset(),
        silence: timedelta = timedelta(minutes=3),
        patience: timedelta = timedelta(minutes=1),
        keep: timedelta = timedelta(days=30),
        clock: Callable[[], datetime] = _now,
        measures: Measures | None = None,
        wire: Wire = "structured",
    ) -> None:
        """Route over *broker*, whose topology exists or is being declared, and remember everything in *state*.

        Records of a global event are copies if captured within *window* of the first.  *trusted* broker users may send
        records of any node.  A node that sends heartbeats is silent once nothing arrived from it for *silence*.  A gap
        is reported after *patience* without progress.  The state remembers received records for *keep*.  What is done
        is counted in *measures*, if there are any.  Events are published in the content mode *wire*.
        """
        self._broker, self._state, self._catalogues, self._clock = broker, state, catalogues, clock
        self._rules = Rules(catalogues, window, frozenset(trusted))
        self._silence, self._patience, self._keep = silence, patience, keep
        self._late: list[Rejected] = []
        self._measures = measures
        self._publisher = Publisher(broker, self._refused, settled=self._settled, measures=measures, wire=wire)
        self.ingress = Ingress(broker, clock, arrived=self._arrived)
        self._batch: list[Arrival] = []
        self._most: int | None = None
        self._is_awake = self._is_ahead = False
        self._pause: timedelta | None = None
        self._tallies: Tallies = {}
        self._finding_tallies: FindingTallies = {}
        self._kept_bodies: KeptBodies = {}
        self._refusals = Watch(0, clock())
        self._contact = self._listening = clock()

    def start(self) -> None:
        """Publish the events that an earlier router left in the outbox, and consume records, once `broker.run` runs.

        Raises StateError if the state cannot be read.
        """
        self._state.serve()
        with self._state.transaction() as transaction:
            waiting = transaction.waiting()
            self._refusals = Watch(transaction.refusals()[0], self._clock())
        self._publisher.own(waiting)
        self.ingress.start()
        self._broker.later(self._tick_delay, self._tick)

    @property
    def activity(self) -> Activity:
        """What the router does now."""
        unfinished = len(self._batch) + len(self.ingress) + self._publisher.unsettled
        problem = self._state.outage.reason and f"the state cannot be written: {self._state.outage.reason}"
        return Activity("routing", self._publisher.taken, unfinished, problem=problem)

    @property
    def _tick_delay(self) -> timedelta:
        return min(_LONGEST_TICK, self._silence / 4, self._patience / 2)

    def _arrived(self) -> None:
        if not self._is_awake and self._pause is None:
            self._is_awake = True
            self._broker.when_idle(self._wake)

    def _wake(self) -> None:
        self._is_awake = False
        if self._pause is None:
            self._work()

    def _work(self) -> None:
        """Route one batch; more is routed in later turns of the loop, which reads from the broker in between.

        If the state fails, the batch waits for the next attempt.
        """
        if not self._batch and self._publisher.unsettled >= _AHEAD:
            self._is_ahead = True
            return
        self._batch = self._batch or self.ingress.take()
        if batch := self._batch[: self._most]:
            try:
                with database.within(database.LIMIT):
                    self._route(batch)
            except StateError as error:
                self._pause = min(self._pause * 2, _LONGEST_PAUSE) if self._pause else _FIRST_PAUSE
                if isinstance(error.__cause__, database.TooSlow):
                    self._most = max(1, len(batch) // 2)
                self._broker.later(self._pause, self._work)
                return
            del self._batch[: len(batch)]
            if self._batch:
                self._broker.later(timedelta(), self._work)
                return
            self._most = None
            self.ingress.done()
            if self._pause is not None:
                self._pause = None
                # A commit that raised an error may have succeeded: publish its own events now, not after a restart.
                self._broker.later(timedelta(), self._check)
        self._continue()

    def _settled(self) -> None:
        if self._is_ahead and self._publisher.unsettled < _AHEAD:
            self._is_ahead = False
            self._continue()

    def _continue(self) -> None:
        due = self.ingress.due()
        if due is None or self._is_awake:
            return
        if due:
            # Whoever is not set aside is not kept waiting by this.
            self._broker.later(due, self._arrived)
        else:
            self._is_awake = True
            self._broker.later(due, self._wake)

    def _route(self, batch: list[Arrival]) -> None:
        moment = self._clock()
        self._listen(moment)
        sent = self._publisher.sent
        with self._state.transaction() as transaction:
            decisions = decide(batch, transaction, self._rules, moment)
            kept_bodies, judged = keep(self._kept_bodies, [each for each, _ in decisions.reject], moment)
            tallies, reports = count(self._tallies, judged + self._late, moment)
            finding_tallies, findings = finding_reports.count(self._finding_tallies, decisions.findings, moment)
            decisions.changes.outbox += self._finding_events(findings, moment)
            decisions.changes.outbox += [rejection_event(each, self._catalogues, moment) for each in reports]
            decisions.changes.sent = sent
            decisions.changes.dismissed = dismissed(judged + self._late)
            if decisions.changes:
                transaction.write(decisions.changes, moment)
        # The batch is committed: nothing below can fail.
        self._tallies, self._late = tallies, []
        self._finding_tallies, self._kept_bodies = finding_tallies, kept_bodies
        self._log(reports)
        self._publisher.forget(sent)
        received = self._measures.decided(decisions, moment) if self._measures else 0.0
        self._act(decisions, judged, received)

    def _act(self, decisions: Decisions, judged: Iterable[Rejected], received: float) -> None:
        for event, arrival in decisions.publish:
            self._publisher.event(event, arrival, received)
        for each, (_, arrival) in zip(judged, decisions.reject, strict=True):
            self._publisher.reject(each, arrival)
        for arrival in decisions.ack:
            self._broker.ack(arrival)
        self._publisher.own(decisions.changes.outbox)

    def _refused(self, event_id: str, arrival: Arrival) -> None:
        found = rejected(arrival, "the broker refuses its event", self._rules.trusted)
        self._kept_bodies, (judged,) = keep(self._kept_bodies, [replace(found, record=event_id)], self._clock())
        self._late.append(judged)
        self._publisher.reject(judged, arrival)

    def _finding_events(self, findings: Iterable[Placed], moment: datetime) -> list[Event]:
        return [finding_event(each, *place, self._catalogues, moment) for place, each in findings]

    def _listen(self, moment: datetime) -> None:
        """Note the time of contact; after a time without any contact, measure silence from now on."""
        if moment - self._contact >= self._silence / 2:
            self._listening = moment
        self._contact = moment

    def _tick(self) -> None:
        self._check()
        self._broker.later(self._tick_delay, self._tick)

    def _check(self) -> None:
        """Publish what depends on time: gaps, silence, reports held back, events still in the outbox."""
        self.ingress.check()
        if self._pause is not None:
            return  # a batch waits for the state, and another check follows it
        moment, sent, floods = self._clock(), self._publisher.sent, list(self.ingress.findings)
        changes = Changes(sent=sent)
        # Where the state fails, the next check tries again.
        with suppress(StateError), database.within(database.LIMIT):
            with self._state.transaction() as transaction:
                found = self._check_nodes(transaction, changes, moment) + floods
                refusals, refused = self._check_refusals(transaction, changes, moment)
                found += refused
                finding_tallies, held_findings = finding_reports.due(self._finding_tallies, moment)
                finding_tallies, findings = finding_reports.count(finding_tallies, found, moment)
                changes.outbox += self._finding_events(findings + held_findings, moment)
                tallies, reports = count(self._tallies, self._late, moment)
                tallies, held = due(tallies, moment)
                changes.outbox += [rejection_event(each, self._catalogues, moment) for each in reports + held]
                changes.dismissed = dismissed(self._late)
                if changes:
                    transaction.write(changes, moment)
                waiting = transaction.waiting()
            self._tallies, self._late, self._finding_tallies = tallies, [], finding_tallies
            if self._measures:
                self._measures.found(found)
                self._measures.dismissed += sum(changes.dismissed.values())
            self._refusals = refusals
            del self.ingress.findings[: len(floods)]
            self._log(reports + held)
            self._publisher.forget(sent)
            self._publisher.own(waiting)
            self._forget()

    def _forget(self) -> None:
        """Delete records that are too old from the state, some at a time."""
        with suppress(StateError), self._state.transaction() as transaction:
            if transaction.forget(self._clock() - self._keep):
                self._broker.later(timedelta(), self._forget)

    def _check_nodes(self, transaction: Transaction, changes: Changes, moment: datetime) -> list[tuple[Place, Found]]:
        """Return what is found on nodes now; *changes* get their states."""
        gaps = transaction.nodes_with_untold_gaps(moment - self._patience)
        found = self._note(gaps, changes, lambda state: overdue(state, moment, self._patience))
        # A router that receives nothing at all cannot know: all nodes may be silent, or it is only the standby.
        if moment - self._contact < self._silence / 2:
            quiet = transaction.quiet_nodes(moment - self._silence)
            quiet |= {place: state for place, state in changes.nodes.items() if place in quiet}
            found += self._note(quiet, changes, lambda state: silent(state, moment, self._silence, self._listening))
        return found

    def _check_refusals(
        self, transaction: Transaction, changes: Changes, moment: datetime
    ) -> tuple[Watch, list[tuple[Place, Found]]]:
        """Return what is known of refusals of others' queues now, and what is found; *changes* get their number."""
        stored, _ = transaction.refusals()
        mine, taken = self._broker.refusals, self._publisher.taken
        watch, refusals, found = self._refusals.look(mine=mine, stored=stored, taken=taken, moment=moment)
        changes.refusals = None if refusals == stored else refusals
        return watch, [((ABSENT, ABSENT), found)] if found else []

    def _note(
        self, nodes: Mapping[Place, NodeState], changes: Changes, check: Callable[[NodeState], Seen]
    ) -> list[tuple[Place, Found]]:
        found: list[tuple[Place, Found]] = []
        for place, before in nodes.items():
            state, findings = check(before)
            if findings:
                changes.nodes[place] = state
                found += [(place, each) for each in findings]
        return found

    def _log(self, reports: Iterable[Report]) -> None:
        for each in reports:
            log.warning("records rejected", extra=each.facts)
