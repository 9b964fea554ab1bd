"""The router: takes records from the broker, and gives it events.

What arrived in one turn of the broker's loop is one batch and one transaction.  Nothing is acknowledged before what
came of it is kept: by the state and, where there is an event or a rejection to publish, by the broker too.  While the
state cannot be written, the batch waits and is tried again; the broker holds back what is beyond the prefetch.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

from .batches import Rules, Verdict, judge
from .broker import Arrival, Broker
from .broker.topology import INGRESS
from .catalogue import Catalogues
from .continuity import Finding, NodeState, Seen, overdue, silent
from .errors import InvalidTopic, StateError
from .events import Event
from .rejections import Rejected, Report, Tallies, count, due
from .settling import Counters, Settler
from .state import Changes, Place, State, Transaction
from .topics import ABSENT, IngressKey, word
from .translation import finding_event, id_at, own_event

log = logging.getLogger(__name__)

BATCH = 200
PREFETCH = 500
"""More than two batches: one is being confirmed while the next is decided."""

_FIRST_PAUSE = timedelta(milliseconds=200)
_LONGEST_PAUSE = timedelta(seconds=5)
_LONGEST_TICK = timedelta(seconds=10)
_LONGEST_NODE = 100


def _now() -> datetime:
    return datetime.now(UTC)


class Router:
    """One router over one broker and one state; a second one over the same queue is a hot standby.

    `counters` says what was done so far.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that it is told
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
    ) -> None:
        """Route over *broker*, whose topology is there or being declared, with *state* as the memory.

        Copies of a global event are captured within *window* of the first; *trusted* broker users may speak for any
        node; a node that sends heartbeats is silent after *silence* without any sign of it; a gap is told of after
        *patience* without progress; what was received is remembered for *keep*.
        """
        self.counters = Counters()
        self._broker, self._state, self._catalogues, self._clock = broker, state, catalogues, clock
        self._rules = Rules(catalogues, window, frozenset(trusted))
        self._silence, self._patience, self._keep = silence, patience, keep
        self._settler = Settler(broker, self.counters, self._refused)
        self._arrivals: deque[Arrival] = deque()
        self._asked = False
        self._pause: timedelta | None = None
        self._tallies: Tallies = {}
        self._late: list[Rejected] = []
        self._contact = self._listening = clock()

    def start(self) -> None:
        """Begin: publish what an earlier router left in the outbox, and take records.  `broker.run` does the work.

        Raises StateError where the state cannot be read.
        """
        with self._state.transaction() as transaction:
            waiting = transaction.waiting()
        self._settler.own(waiting)
        self._broker.consume(INGRESS, self._receive, prefetch=PREFETCH)
        self._broker.later(self._tick_delay, self._tick)

    @property
    def _tick_delay(self) -> timedelta:
        return min(_LONGEST_TICK, self._silence / 4, self._patience / 2)

    def _receive(self, arrival: Arrival) -> None:
        self._arrivals.append(arrival)
        if not self._asked and self._pause is None:
            self._asked = True
            self._broker.when_idle(self._idle)
        if len(self._arrivals) >= BATCH and self._pause is None:
            self._work()

    def _idle(self) -> None:
        self._asked = False
        if self._pause is None:
            self._work()

    def _work(self) -> None:
        """Work off what has arrived; where the state fails, all that is not worked off waits for `_resume`."""
        while self._arrivals:
            batch = list(islice(self._arrivals, BATCH))
            try:
                self._route(batch)
            except StateError as error:
                self._pause = min(self._pause * 2, _LONGEST_PAUSE) if self._pause else _FIRST_PAUSE
                self.counters.state_failures += 1
                facts = {"reason": str(error), "waiting": len(self._arrivals), "pause": self._pause.total_seconds()}
                log.error("state cannot be written, records wait", extra=facts)  # noqa: TRY400 - the reason says it all
                self._broker.later(self._pause, self._work)
                return
            for _ in batch:
                self._arrivals.popleft()
            if self._pause is not None:
                self._pause = None
                log.info("state can be written again", extra={"waiting": len(self._arrivals)})
                # A commit may have failed to say that it succeeded: its own events would wait for the next start.
                self._broker.later(timedelta(), self._look)

    def _route(self, batch: list[Arrival]) -> None:
        moment = self._clock()
        self._listen(moment)
        sent = self._settler.sent
        with self._state.transaction() as transaction:
            verdict = judge(batch, transaction, self._rules, moment)
            rejected = [each for each, _ in verdict.reject] + self._late
            tallies, reports = count(self._tallies, rejected, moment)
            verdict.changes.outbox += [self._report(each, moment) for each in reports]
            verdict.changes.sent = sent
            if verdict.changes:
                transaction.write(verdict.changes, moment)
        # From here on nothing can fail: the batch is kept.
        self._tallies, self._late = tallies, []
        self._log(reports)
        self._settler.forget(sent)
        self._act(verdict, len(batch))

    def _act(self, verdict: Verdict, records: int) -> None:
        for event, arrival in verdict.publish:
            self._settler.event(event, arrival)
        for rejected, arrival in verdict.reject:
            self._settler.reject(rejected, arrival)
        for arrival in verdict.ack:
            self._broker.ack(arrival)
        self._settler.own(verdict.changes.outbox)
        counters = self.counters
        counters.records += records
        counters.batches += 1
        counters.copies += verdict.copies
        counters.repeats += verdict.repeats
        counters.duplicates += verdict.duplicates
        counters.heartbeats += verdict.heartbeats

    def _refused(self, rejected: Rejected) -> None:
        self._late.append(rejected)

    def _listen(self, moment: datetime) -> None:
        """Note that something was heard, and since when we listen: after a deaf time, silence begins anew."""
        if moment - self._contact >= self._silence / 2:
            self._listening = moment
        self._contact = moment

    def _tick(self) -> None:
        self._look()
        self._broker.later(self._tick_delay, self._tick)

    def _look(self) -> None:
        """Tell of what time alone brings: gaps, silence, what was held back, what is still in the outbox."""
        moment, sent = self._clock(), self._settler.sent
        changes = Changes(sent=sent)
        with self._failing_softly():
            with self._state.transaction() as transaction:
                self._look_at_nodes(transaction, changes, moment)
                tallies, reports = count(self._tallies, self._late, moment)
                tallies, held = due(tallies, moment)
                changes.outbox += [self._report(each, moment) for each in reports + held]
                if changes:
                    transaction.write(changes, moment)
                waiting = transaction.waiting()
            self._tallies, self._late = tallies, []
            self._log(reports + held)
            self._settler.forget(sent)
            self._settler.own(waiting)
        self._forget()

    def _forget(self) -> None:
        """Forget what is too old, a portion at a time."""
        with self._failing_softly(), self._state.transaction() as transaction:
            if transaction.forget(self._clock() - self._keep):
                self._broker.later(timedelta(), self._forget)

    @contextmanager
    def _failing_softly(self) -> Iterator[None]:
        """Leave for the next time what the state cannot do now."""
        try:
            yield
        except StateError as error:
            self.counters.state_failures += 1
            log.error("state cannot be written, will look again", extra={"reason": str(error)})  # noqa: TRY400

    def _look_at_nodes(self, transaction: Transaction, changes: Changes, moment: datetime) -> None:
        found = transaction.nodes_with_untold_gaps(moment - self._patience)
        self._note(found, changes, moment, lambda state: overdue(state, moment, self._patience))
        # Who hears nobody at all cannot tell whether they are silent or itself is deaf (or only the standby).
        if moment - self._contact < self._silence / 2:
            quiet = transaction.quiet_nodes(moment - self._silence)
            quiet |= {place: state for place, state in changes.nodes.items() if place in quiet}
            self._note(quiet, changes, moment, lambda state: silent(state, moment, self._silence, self._listening))

    def _note(
        self, found: Mapping[Place, NodeState], changes: Changes, moment: datetime, look: Callable[[NodeState], Seen]
    ) -> None:
        for place, before in found.items():
            state, findings = look(before)
            if findings:
                changes.nodes[place] = state
                changes.outbox += self._events(findings, place, moment)

    def _events(self, findings: Iterable[Finding], place: Place, moment: datetime) -> list[Event]:
        events = (finding_event(each, *place, self._catalogues, moment) for each in findings)
        return [each for each in events if each is not None]

    def _log(self, reports: Iterable[Report]) -> None:
        for each in reports:
            example = each.example
            facts = {"key": example.key, "user": example.user, "reason": example.reason, "count": each.count}
            log.warning("records rejected", extra=facts)

    def _report(self, report: Report, moment: datetime) -> Event:
        """Return the event that tells of a rejection; its node is the user that the broker vouches for."""
        rejected = report.example
        node = word(rejected.user)[:_LONGEST_NODE]
        try:
            cluster = IngressKey.parse(rejected.key).cluster[:_LONGEST_NODE]
        except InvalidTopic:
            cluster = ABSENT
        facts = {
            "record": rejected.record,
            "node": rejected.user,
            "key": rejected.key,
            "user": rejected.user,
            "reason": rejected.reason,
            "count": report.count,
        }
        id_ = id_at(moment, f"recordRejected/{rejected.user}/{rejected.record}/{rejected.key}/{report.count}")
        return own_event("recordRejected", facts, self._catalogues, cluster=cluster, node=node, id_=id_, moment=moment)
