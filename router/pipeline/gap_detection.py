"""Detects gaps, new spools and silent nodes.  Pure: takes states and arrivals, returns states and findings.

A relay numbers its node's records from 1 within an epoch, the life of one spool.  For a node that was never seen,
numbers count from the first one seen; in a later epoch they count from 1.  A gap is reported once it made no progress
for a while (*patience*), because records that are sent again after a lost connection may arrive out of order.  A gap
that closes before is never reported.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

EPOCHS = 8
"""The most epochs remembered for a node: only a forger has more."""

GAPS = 500
"""The most gaps remembered for a node, those of all its epochs together; the oldest are forgotten first."""

Place = tuple[str, str]
"""Cluster and node."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers *first* to *last*, not seen yet: the rest of the gap *opened*.

    *reported* says whether it was reported; *since* is the time of the last progress.
    """

    first: int
    last: int
    opened: tuple[int, int]
    since: datetime
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """The numbers seen of one spool: all from *first* to *highest*, except the *gaps*.

    Of a gap that began before *first*, a part is forgotten.
    """

    id: str
    first: int
    highest: int
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeState:
    """The state of one node.  The last of *epochs* is the current one; *beating* says that it sends heartbeats."""

    heard: datetime
    epochs: tuple[Epoch, ...] = ()
    beating: bool = False
    silent: bool = False

    @property
    def missing(self) -> int:
        """How many numbers are missing in reported gaps."""
        return sum(gap.last - gap.first + 1 for epoch in self.epochs for gap in epoch.gaps if gap.reported)

    @property
    def may_forget(self) -> bool:
        """Whether more numbers may be missing: there are as many gaps or epochs as are remembered."""
        return len(self.epochs) >= EPOCHS or sum(len(epoch.gaps) for epoch in self.epochs) >= GAPS

    @property
    def untold(self) -> datetime | None:
        """When the oldest unreported gap last made progress, or None without such a gap."""
        return min((gap.since for epoch in self.epochs for gap in epoch.gaps if not gap.reported), default=None)


@dataclass(frozen=True, slots=True)
class GapOpened:
    """Numbers *first* to *last* of *epoch* did not arrive."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapClosed:
    """All records of a reported gap have arrived."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapAccepted:
    """A person, *by*, has said that *count* records of the gap reported as *first* to *last* will not arrive."""

    epoch: str
    first: int
    last: int
    count: int
    by: str
    comment: str


@dataclass(frozen=True, slots=True)
class EpochStarted:
    """The node has a new spool; *previous* is its earlier epoch, or None for a new node."""

    epoch: str
    previous: str | None


@dataclass(frozen=True, slots=True)
class NodeSilent:
    """A node that sends heartbeats was last heard at *heard*."""

    heard: datetime


@dataclass(frozen=True, slots=True)
class NodeBack:
    """A silent node, last heard at *heard*, was heard again."""

    heard: datetime


Finding = GapOpened | GapClosed | GapAccepted | EpochStarted | NodeSilent | NodeBack
Seen = tuple[NodeState, list[Finding]]


def observe(state: NodeState | None, epoch: str, sequence: int, moment: datetime) -> Seen:
    """Return the node's state and the findings after a record with *sequence* of *epoch* arrived at *moment*."""
    return _seen(state, epoch, sequence, moment, beat=False)


def beat(state: NodeState | None, epoch: str, sequence: int, moment: datetime) -> Seen:
    """Return the same after a heartbeat, which carries the last assigned *sequence* and has none of its own."""
    return _seen(state, epoch, sequence, moment, beat=True)


def _seen(state: NodeState | None, epoch: str, sequence: int, moment: datetime, *, beat: bool) -> Seen:
    findings: list[Finding] = []
    if state is not None and state.silent:
        findings.append(NodeBack(state.heard))
    before = state.epochs if state else ()
    known = next((each for each in before if each.id == epoch), None)
    if known is None:
        previous = before[-1] if before else None
        findings.append(EpochStarted(epoch, previous.id if previous else None))
        # For a node never seen before, earlier numbers are not missing; a heartbeat has no number of its own.
        first = 1 if previous else sequence + beat
        known, before = Epoch(epoch, first, first - 1), (*before, Epoch(epoch, first, first - 1))[-EPOCHS:]
    seen, more = _claimed(known, sequence, moment) if beat else _arrived(known, sequence, moment)
    epochs = tuple(seen if each.id == epoch else each for each in before)
    beating = beat or (state is not None and state.beating)
    return NodeState(heard=moment, epochs=_bounded(epochs), beating=beating), findings + more


def _bounded(epochs: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """Return *epochs* with the newest gaps only: a record in the middle of a gap makes two of it, as does a forger."""
    excess = sum(len(each.gaps) for each in epochs) - GAPS
    if excess <= 0:
        return epochs
    bounded = []
    for epoch in epochs:
        forgotten, gaps = epoch.gaps[:excess], epoch.gaps[excess:]
        excess -= len(forgotten)
        first = forgotten[-1].last + 1 if forgotten else epoch.first
        bounded.append(replace(epoch, first=first, gaps=gaps))
    return tuple(bounded)


def _claimed(epoch: Epoch, sequence: int, moment: datetime) -> tuple[Epoch, list[Finding]]:
    """Count the number in a heartbeat as that of a record, which may still be on its way."""
    if sequence <= epoch.highest:
        return epoch, []
    return _with_hole(epoch, epoch.highest + 1, sequence, moment), []


def _arrived(epoch: Epoch, sequence: int, moment: datetime) -> tuple[Epoch, list[Finding]]:
    if sequence > epoch.highest:
        holed = _with_hole(epoch, epoch.highest + 1, sequence - 1, moment)
        return Epoch(epoch.id, epoch.first, sequence, holed.gaps), []
    if sequence < epoch.first:
        return epoch, []
    for place, gap in enumerate(epoch.gaps):
        if gap.first <= sequence <= gap.last:
            left = _without(gap, sequence, moment)
            gaps = (*epoch.gaps[:place], *left, *epoch.gaps[place + 1 :])
            whole = gap.opened[0] >= epoch.first
            closed = gap.reported and whole and not any(each.opened == gap.opened for each in gaps)
            return replace(epoch, gaps=gaps), [GapClosed(epoch.id, *gap.opened)] if closed else []
    return epoch, []


def _with_hole(epoch: Epoch, first: int, last: int, moment: datetime) -> Epoch:
    if first > last:
        return epoch
    return replace(epoch, highest=last, gaps=(*epoch.gaps, Gap(first, last, (first, last), moment)))


def _without(gap: Gap, sequence: int, moment: datetime) -> Iterable[Gap]:
    pieces = ((gap.first, sequence - 1), (sequence + 1, gap.last))
    return [replace(gap, first=first, last=last, since=moment) for first, last in pieces if first <= last]


def overdue(state: NodeState, moment: datetime, patience: timedelta) -> Seen:
    """Return the state and the gaps to report now: those without progress for *patience*."""
    findings: list[Finding] = []
    epochs = []
    for epoch in state.epochs:
        gaps = []
        for gap in epoch.gaps:
            due = not gap.reported and moment - gap.since >= patience
            # The report covers what is missing now; the rest of the original gap is another gap.
            gaps.append(replace(gap, reported=True, opened=(gap.first, gap.last)) if due else gap)
            findings += [GapOpened(epoch.id, gap.first, gap.last)] if due else []
        epochs.append(replace(epoch, gaps=tuple(gaps)))
    return replace(state, epochs=tuple(epochs)), findings


def accepted(state: NodeState, by: str, comment: str) -> Seen:
    """Return the state without its reported gaps, which the person *by* accepts; their records may still arrive."""
    missing: Counter[tuple[str, int, int]] = Counter()
    for epoch in state.epochs:
        for gap in epoch.gaps:
            if gap.reported:
                # As it was reported, so that the end of a gap can be matched with its beginning.
                missing[epoch.id, *gap.opened] += gap.last - gap.first + 1
    findings = [GapAccepted(*opened, count, by, comment) for opened, count in missing.items()]
    left = [replace(each, gaps=tuple(gap for gap in each.gaps if not gap.reported)) for each in state.epochs]
    return replace(state, epochs=tuple(left)), [*findings]


def silent(state: NodeState, moment: datetime, silence: timedelta, since: datetime) -> Seen:
    """Return the state, and NodeSilent once if nothing arrived for *silence* while the router listened *since* then."""
    quiet = moment - max(state.heard, since)
    if not state.beating or state.silent or quiet < silence:
        return state, []
    return replace(state, silent=True), [NodeSilent(state.heard)]
