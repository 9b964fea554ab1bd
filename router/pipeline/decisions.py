"""Decides what to do with each record of a batch, within one transaction.  The router acts once it is committed."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..broker.interface import Arrival
from ..errors import Rejection
from ..model.bounds import KEY, REASON
from ..model.catalogue import Catalogues
from ..model.events import Event
from ..model.ids import is_id
from ..model.records import Provenance, Record, parse
from ..sources.arguments import fitted
from .deduplication import Occurrence, belongs_to, key_of, may_have_copies
from .gap_detection import Finding, NodeState, Place, beat, observe
from .mapping import HEARTBEAT, believed, event_of, event_type_of
from .reports.confirmations import confirmation
from .reports.rejection_reports import Rejected
from .state import Changes, Transaction
from .state_rows import Fate

log = logging.getLogger(__name__)

ORIGIN = "origin-user"
"""The header in which a trusted user names the user whose record it publishes again."""

_DIGEST = 16
"""Octets of the digest of a record's content."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that are the same for every batch."""

    catalogues: Catalogues
    window: timedelta
    trusted: Collection[str] = frozenset()


@dataclass(slots=True)
class Decisions:
    """What to do once *changes* are committed: publish and then ack, reject and then ack, or only ack.

    *findings* are not among the changes yet.  *heartbeats* are how many of *ack* are heartbeats; *ahead* are how many
    of *publish* are received before they were captured, by the clock of their node.
    """

    changes: Changes = field(default_factory=Changes)
    findings: list[tuple[Place, Finding]] = field(default_factory=list)
    publish: list[tuple[Event, Arrival]] = field(default_factory=list)
    reject: list[tuple[Rejected, Arrival]] = field(default_factory=list)
    ack: list[Arrival] = field(default_factory=list)
    heartbeats: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A record and its event; *key* identifies the occurrence if the event concerns the whole cluster."""

    arrival: Arrival
    record: Record
    event: Event
    key: str | None
    digest: bytes

    @property
    def place(self) -> Place:
        return self.record.cluster, self.record.node

    @property
    def is_heartbeat(self) -> bool:
        return self.event.type == HEARTBEAT


def decide(arrivals: Iterable[Arrival], transaction: Transaction, rules: Rules, moment: datetime) -> Decisions:
    """Return the decisions for *arrivals* by the stored state; writes nothing yet."""
    decisions = Decisions()
    records = []
    for arrival in arrivals:
        try:
            records.append(_decoded(arrival, rules))
        except Rejection as error:
            decisions.reject.append((rejected(arrival, str(error), rules.trusted), arrival))
    _Batch(records, transaction, rules, moment, decisions).decide()
    return decisions


def _decoded(arrival: Arrival, rules: Rules) -> _Decoded:
    """Return the record and event of *arrival*; raises Rejection and nothing else."""
    try:
        user = origin_of(arrival, rules.trusted)
        record = parse(arrival.body, Provenance(arrival.key, user, arrival.headers), rules.trusted)
        event_type = event_type_of(record, rules.catalogues, trusted=user in rules.trusted)
        catalogue = rules.catalogues.of(record.source)
        event = event_of(record, event_type, catalogue)
        is_global = event_type.scope == "global"
        key = key_of(record.cluster, event_type, event.data, catalogue) if is_global else None
    except Rejection:
        raise
    except Exception as error:
        # Otherwise one unexpected record would crash the router again and again, and block all other records.
        log.exception("router failed on a record", extra={"key": arrival.key, "user": arrival.user})
        raise Rejection(f"the router failed on this record: {type(error).__name__}: {error}") from error
    content = hashlib.blake2b(arrival.key.encode() + b"\0" + arrival.body, digest_size=_DIGEST)
    return _Decoded(arrival, record, event, key, content.digest())


def origin_of(arrival: Arrival, trusted: Collection[str]) -> str | None:
    """Return the user by whom *arrival* is judged: its own, or the one whose record a *trusted* user publishes again.

    Only such a user is believed, since a node may write any header.
    """
    if arrival.user not in trusted or ORIGIN not in arrival.headers:
        return arrival.user
    origin = arrival.headers[ORIGIN]
    return origin if isinstance(origin, str) and origin else None


def rejected(arrival: Arrival, reason: str, trusted: Collection[str]) -> Rejected:
    """Return what is known of *arrival*, which is rejected for *reason*, in texts of bounded length."""
    user = origin_of(arrival, trusted)
    return Rejected(
        arrival.id if is_id(arrival.id) else None,
        fitted(arrival.key, KEY),
        None if user is None else fitted(user, KEY),
        fitted(reason, REASON),
    )


class _Batch:
    """One batch: its records, the state before it, and the decisions so far."""

    def __init__(
        self,
        records: Sequence[_Decoded],
        transaction: Transaction,
        rules: Rules,
        moment: datetime,
        decisions: Decisions,
    ) -> None:
        self._records, self._rules, self._moment, self._decisions = records, rules, moment, decisions
        ids = {each.record.id for each in records if not each.is_heartbeat}
        self._fates = transaction.fates(ids) if ids else {}
        self._occurrences = self._known_occurrences(transaction)
        places = {each.place for each in records if each.record.epoch is not None}
        self._nodes: dict[Place, NodeState] = transaction.nodes(places) if places else {}

    def _known_occurrences(self, transaction: Transaction) -> dict[str, list[Occurrence]]:
        moments: dict[str, list[datetime]] = {}
        for each in self._records:
            if each.key is not None and each.record.id not in self._fates:
                moments.setdefault(each.key, []).append(self._captured(each))
        return transaction.occurrences(moments, 2 * self._rules.window) if moments else {}

    def decide(self) -> None:
        """Decide on each record in the order of arrival."""
        for each in self._records:
            if each.is_heartbeat:
                self._heartbeat(each)
            elif fate := self._fates.get(each.record.id):
                self._repeat(each, fate)
            else:
                self._new(each)

    def _heartbeat(self, decoded: _Decoded) -> None:
        self._continue(decoded, is_beat=True)
        self._decisions.ack.append(decoded.arrival)
        self._decisions.heartbeats += 1

    def _repeat(self, decoded: _Decoded, fate: Fate) -> None:
        reason = None
        if fate.node != decoded.record.node:
            # Everyone who reads events knows their ids, so an id gives no right to change another node's event.
            reason = f"record id {decoded.record.id} belongs to a record of node {fate.node!r}"
        elif fate.digest not in {None, decoded.digest}:
            # Subscribers may have the event already, and it never changes.
            reason = f"record id {decoded.record.id} belongs to a record with other content"
        if reason is None:
            self._settle(decoded, fate)
        else:
            found = rejected(decoded.arrival, reason, self._rules.trusted)
            self._decisions.reject.append((found, decoded.arrival))

    def _settle(self, decoded: _Decoded, fate: Fate) -> None:
        if fate.is_copy:
            self._decisions.ack.append(decoded.arrival)
        else:
            # A record that comes again is the same event, with the time at which it arrived first.
            event = believed(decoded.event, fate.received or self._moment)
            self._decisions.ahead += decoded.event.moment > self._moment
            self._decisions.publish.append((event, decoded.arrival))

    def _new(self, decoded: _Decoded) -> None:
        self._continue(decoded, is_beat=False)
        event, is_kept = self._event_for(decoded)
        fate = Fate(decoded.record.id, event, decoded.record.node, decoded.digest)
        self._fates[fate.record] = fate
        self._decisions.changes.fates.append(fate)
        if is_kept:
            self._decisions.changes.observers.append(fate)
        self._settle(decoded, fate)

    def _captured(self, decoded: _Decoded) -> datetime:
        """Return when *decoded* was captured: not after it was received, whatever its node claims."""
        return min(decoded.record.moment, self._moment)

    def _event_for(self, decoded: _Decoded) -> tuple[str, bool]:
        """Return the id of the event that *decoded* becomes or is a copy of, and whether copies of that are found."""
        record = decoded.record
        if decoded.key is None:
            return record.id, False
        known = self._occurrences.setdefault(decoded.key, [])
        captured = self._captured(decoded)
        found = belongs_to(captured, record.node, known, self._rules.window)
        if found is None:
            if not may_have_copies(captured, record.node, known, self._rules.window):
                return record.id, False
            known.append(Occurrence(record.id, decoded.key, captured, self._moment, frozenset({record.node})))
            self._decisions.changes.occurrences.append(known[-1])
            return record.id, True
        known[known.index(found)] = found.observed_by(record.node)
        if len(found.observers) == 1:
            copy = believed(decoded.event, self._moment)
            if confirmed := confirmation(found.event, copy, self._rules.catalogues, self._moment):
                self._decisions.changes.outbox.append(confirmed)
        return found.event, True

    def _continue(self, decoded: _Decoded, *, is_beat: bool) -> None:
        record = decoded.record
        if record.epoch is None or record.sequence is None:
            return
        step = beat if is_beat else observe
        state, findings = step(self._nodes.get(decoded.place), record.epoch, record.sequence, self._moment)
        self._nodes[decoded.place] = self._decisions.changes.nodes[decoded.place] = state
        self._decisions.findings += [(decoded.place, each) for each in findings]
