"""One batch: what becomes of each record that arrived.  Decides, within a transaction; others act when it is over."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .broker import Arrival
from .catalogue import Catalogues
from .collapse import Occurrence, belongs_to, key_of
from .continuity import Duplicate, Finding, NodeState, beat, observe
from .errors import Rejection
from .events import Event
from .records import Provenance, Record, parse
from .rejections import Rejected
from .state import Changes, Fate, Place, Transaction
from .translation import HEARTBEAT, event_of, event_type_of, finding_event

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not change from batch to batch."""

    catalogues: Catalogues
    window: timedelta
    trusted: Collection[str] = frozenset()


@dataclass(slots=True)
class Verdict:
    """What is to be done once *changes* are kept: publish and then ack, reject and then ack, or only ack."""

    changes: Changes = field(default_factory=Changes)
    publish: list[tuple[Event, Arrival]] = field(default_factory=list)
    reject: list[tuple[Rejected, Arrival]] = field(default_factory=list)
    ack: list[Arrival] = field(default_factory=list)
    copies: int = 0
    repeats: int = 0
    duplicates: int = 0
    heartbeats: int = 0


@dataclass(frozen=True, slots=True)
class _Told:
    """A record that can be an event; *key* where it tells of something that happened to the whole cluster."""

    arrival: Arrival
    record: Record
    event: Event
    key: str | None

    @property
    def place(self) -> Place:
        return self.record.cluster, self.record.node

    @property
    def is_heartbeat(self) -> bool:
        return self.event.type == HEARTBEAT


def judge(arrivals: Iterable[Arrival], transaction: Transaction, rules: Rules, moment: datetime) -> Verdict:
    """Return what is to become of *arrivals*, by what the state knows; nothing is written yet."""
    verdict = Verdict()
    told = []
    for arrival in arrivals:
        try:
            told.append(_told(arrival, rules))
        except Rejection as error:
            verdict.reject.append((_rejected(arrival, error), arrival))
    _Judge(told, transaction, rules, moment, verdict).judge()
    return verdict


def _told(arrival: Arrival, rules: Rules) -> _Told:
    """Return what *arrival* tells; raises Rejection, and nothing else."""
    try:
        record = parse(arrival.body, Provenance(arrival.key, arrival.user, arrival.headers), rules.trusted)
        event_type = event_type_of(record, rules.catalogues, trusted=arrival.user in rules.trusted)
        catalogue = rules.catalogues.of(record.source)
        event = event_of(record, event_type, catalogue)
        is_global = event_type.scope == "global"
        key = key_of(record.cluster, event_type, event.data, catalogue) if is_global else None
    except Rejection:
        raise
    except Exception as error:
        # Else one record that nobody thought of would end the router again and again, and stop all the others.
        log.exception("record made the router fail", extra={"key": arrival.key, "user": arrival.user})
        raise Rejection(f"the router failed on it: {type(error).__name__}: {error}") from error
    return _Told(arrival, record, event, key)


def _rejected(arrival: Arrival, error: Rejection) -> Rejected:
    return Rejected(arrival.id or None, arrival.key, arrival.user, str(error))


class _Judge:
    """The decisions of one batch, with what the state knew before and what was decided so far."""

    def __init__(
        self, told: Sequence[_Told], transaction: Transaction, rules: Rules, moment: datetime, verdict: Verdict
    ) -> None:
        self._told, self._rules, self._moment, self._verdict = told, rules, moment, verdict
        ids = {each.record.id for each in told if not each.is_heartbeat}
        self._fates = transaction.fates(ids) if ids else {}
        self._occurrences = self._known_occurrences(transaction)
        places = {each.place for each in told if each.record.epoch is not None}
        self._nodes: dict[Place, NodeState] = transaction.nodes(places) if places else {}

    def _known_occurrences(self, transaction: Transaction) -> dict[str, list[Occurrence]]:
        moments: dict[str, list[datetime]] = {}
        for each in self._told:
            if each.key is not None and each.record.id not in self._fates:
                moments.setdefault(each.key, []).append(each.record.moment)
        return transaction.occurrences(moments, self._rules.window) if moments else {}

    def judge(self) -> None:
        """Decide on each record, in the order of arrival."""
        for each in self._told:
            if each.is_heartbeat:
                self._heartbeat(each)
            elif fate := self._fates.get(each.record.id):
                self._again(each, fate)
            else:
                self._new(each)

    def _heartbeat(self, told: _Told) -> None:
        self._verdict.heartbeats += 1
        self._continue(told, is_beat=True)
        self._verdict.ack.append(told.arrival)

    def _again(self, told: _Told, fate: Fate) -> None:
        if fate.node != told.record.node:
            # Ids are no secret to who reads events: an id does not give the right to change another node's event.
            error = Rejection(f"record id {told.record.id} is one of node {fate.node!r}")
            self._verdict.reject.append((_rejected(told.arrival, error), told.arrival))
            return
        self._verdict.repeats += 1
        if fate.is_copy:
            self._verdict.ack.append(told.arrival)
        else:
            self._verdict.publish.append((told.event, told.arrival))

    def _new(self, told: _Told) -> None:
        self._continue(told, is_beat=False)
        fate = Fate(told.record.id, self._event_for(told), told.record.node)
        self._fates[fate.record] = fate
        self._verdict.changes.fates.append(fate)
        if told.key is not None:
            self._verdict.changes.observers.append(fate)
        if fate.is_copy:
            self._verdict.copies += 1
            self._verdict.ack.append(told.arrival)
        else:
            self._verdict.publish.append((told.event, told.arrival))

    def _event_for(self, told: _Told) -> str:
        """Return the id of the event that *told* is, or is a copy of."""
        record = told.record
        if told.key is None:
            return record.id
        known = self._occurrences.setdefault(told.key, [])
        found = belongs_to(record.moment, record.node, known, self._rules.window)
        if found is None:
            known.append(Occurrence(record.id, told.key, record.moment, frozenset({record.node})))
            self._verdict.changes.occurrences.append(known[-1])
            return record.id
        known[known.index(found)] = found.observed_by(record.node)
        return found.event

    def _continue(self, told: _Told, *, is_beat: bool) -> None:
        record = told.record
        if record.epoch is None or record.sequence is None:
            return
        step = beat if is_beat else observe
        state, findings = step(self._nodes.get(told.place), record.epoch, record.sequence, self._moment)
        self._nodes[told.place] = self._verdict.changes.nodes[told.place] = state
        for finding in findings:
            self._tell(finding, told.place)

    def _tell(self, finding: Finding, place: Place) -> None:
        self._verdict.duplicates += isinstance(finding, Duplicate)
        event = finding_event(finding, *place, self._rules.catalogues, self._moment)
        if event is not None:
            self._verdict.changes.outbox.append(event)
