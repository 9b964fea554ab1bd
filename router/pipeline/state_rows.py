"""Rows of the router's state: from values, and back, and the state in numbers.  Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..model.events import Event
from ..services.misses import Misses
from .deduplication import Occurrence
from .gap_detection import Epoch, Gap, NodeState, Place
from .state_schema import microseconds, moment

MOST_MISSING = 10**12
"""The most records that one node is said to miss."""


@dataclass(frozen=True, slots=True)
class Fate:
    """The event of *record* of *node*: the record itself, or, for a copy, the record that came first.

    *digest* is that of the record's content, and None where an earlier release received it.  *received* is None until
    the fate is written.
    """

    record: str
    event: str
    node: str
    digest: bytes | None = None
    received: datetime | None = None

    @property
    def is_copy(self) -> bool:
        """Whether the record is a copy of another one."""
        return self.record != self.event


@dataclass(frozen=True, slots=True)
class Dismissed:
    """How many rejected records of *user* were not kept, from *since* to *latest*."""

    user: str
    count: int
    since: datetime
    latest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is wrong by the state, in numbers that are quick to read: their tables do not grow with the records.

    *missing* is of the gaps that are remembered, and *missing_is_least* says that more may be missing.
    *dismissed* names the users of whom most rejected records were not kept within the last day.
    *outbox_since* is when the oldest own event was made that the broker has not confirmed; None if it has all of them.
    """

    nodes: int
    silent: int
    missing: int
    missing_is_least: bool
    outbox: int
    outbox_since: datetime | None
    refusals: int
    refused_since: datetime | None
    dismissed: tuple[Dismissed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts(Condition):
    """The state in numbers; reads all of it."""

    records: int
    copies: int
    events: int


@dataclass(slots=True)
class Changes:
    """The changes of one batch.

    *observers* are further records of known occurrences.  *outbox* holds own events to publish, and *sent* the ids of
    those that the broker has confirmed.  *refusals* is how many events queues of others have refused, 0 if they refuse
    none; None changes nothing.  *misses* is what services have missed.  *dismissed* is how many more rejected records
    of each user are not kept.
    """

    fates: list[Fate] = field(default_factory=list)
    occurrences: list[Occurrence] = field(default_factory=list)
    observers: list[Fate] = field(default_factory=list)
    nodes: dict[Place, NodeState] = field(default_factory=dict)
    outbox: list[Event] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    refusals: int | None = None
    misses: dict[str, Misses] = field(default_factory=dict)
    dismissed: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Say whether there is anything to write."""
        several = (
            self.fates,
            self.occurrences,
            self.observers,
            self.nodes,
            self.outbox,
            self.sent,
            self.misses,
            self.dismissed,
        )
        return any(several) or self.refusals is not None


def fate_row(fate: Fate, received: int) -> dict[str, object]:
    """Return the row of *fate*."""
    return {
        "id": fate.record,
        "event": fate.event,
        "is_copy": fate.is_copy,
        "node": fate.node,
        "received": received,
        "digest": fate.digest,
    }


def occurrence_row(each: Occurrence, received: int) -> dict[str, object]:
    """Return the row of an occurrence; its observers have rows of their own."""
    return {"event": each.event, "key": each.key, "captured": microseconds(each.captured), "received": received}


def misses_row(service: str, each: Misses) -> dict[str, object]:
    """Return the row of what *service* has missed."""
    emptied = None if each.emptied is None else microseconds(each.emptied)
    grown = microseconds(each.grown)
    return {"service": service, "missed": each.missed, "count": each.count, "grown": grown, "emptied": emptied}


def node_row(place: Place, state: NodeState) -> dict[str, object]:
    """Return the row of the node at *place*."""
    untold = state.untold
    return {
        "cluster": place[0],
        "node": place[1],
        "heard": microseconds(state.heard),
        "beating": state.beating,
        "silent": state.silent,
        # A forged record can claim a gap that exceeds a column, or the sum of several rows.
        "missing": min(state.missing, MOST_MISSING),
        "untold": None if untold is None else microseconds(untold),
        "epochs": json.dumps([_epoch_row(each) for each in state.epochs]),
    }


def _epoch_row(epoch: Epoch) -> list[object]:
    gaps = [[gap.first, gap.last, *gap.opened, microseconds(gap.since), gap.reported] for gap in epoch.gaps]
    return [epoch.id, epoch.first, epoch.highest, gaps]


def epochs_of(text: str) -> tuple[Epoch, ...]:
    """Return the epochs that a row holds as *text*."""
    return tuple(
        Epoch(
            id_,
            first,
            highest,
            tuple(
                Gap(start, end, (opened, closed), moment(at), reported)
                for start, end, opened, closed, at, reported in gaps
            ),
        )
        for id_, first, highest, gaps in json.loads(text)
    )
