"""What is missing: gaps, new spools, silent nodes.  Pure: states and what is seen go in, states and findings come out.

A relay numbers its node's records from 1 within an epoch, the life of one spool.  The first record that is ever seen of
a node is where our knowledge begins; of a later epoch it begins at 1.  A hole is told of once it has stayed without
progress for a while (*patience*), since what is sent again after a cut may overtake, and never where it closed before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

EPOCHS = 8
"""Epochs of a node that are remembered: more of them can only be made up."""

GAPS = 500
"""Gaps of an epoch that are remembered; of more, the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers *first* to *last*, not seen yet; what is left of the hole *opened*, which was *told* of or not.

    *since* is when the last progress was made.
    """

    first: int
    last: int
    opened: tuple[int, int]
    since: datetime
    told: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """What was seen of one spool: nothing before *first*, nothing after *highest*, and not the *gaps*."""

    id: str
    first: int
    highest: int
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeState:
    """What is known of one node.  The last of *epochs* is the current one; *beating* where it sends heartbeats."""

    heard: datetime
    epochs: tuple[Epoch, ...] = ()
    beating: bool = False
    silent: bool = False

    @property
    def missing(self) -> int:
        """How many numbers are missing, in gaps that were told of."""
        return sum(gap.last - gap.first + 1 for epoch in self.epochs for gap in epoch.gaps if gap.told)

    @property
    def untold(self) -> datetime | None:
        """Since when the oldest gap is there that was not told of yet."""
        return min((gap.since for epoch in self.epochs for gap in epoch.gaps if not gap.told), default=None)


@dataclass(frozen=True, slots=True)
class GapOpened:
    """Numbers *first* to *last* of *epoch* did not come."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapClosed:
    """All of a gap that was told of has come after all."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class EpochStarted:
    """The node's spool is new; *previous* is None for a node that was never seen, else seen up to *highest*."""

    epoch: str
    previous: str | None
    highest: int | None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Another record has come under a number that was seen."""

    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class NodeSilent:
    """A node that sends heartbeats was not heard since *heard*."""

    heard: datetime


@dataclass(frozen=True, slots=True)
class NodeBack:
    """A silent node, last heard at *heard*, was heard again."""

    heard: datetime


Finding = GapOpened | GapClosed | EpochStarted | Duplicate | NodeSilent | NodeBack
Seen = tuple[NodeState, list[Finding]]


def observe(state: NodeState | None, epoch: str, sequence: int, moment: datetime) -> Seen:
    """Return what is known of a node, and what was found, after a record came under *sequence* of *epoch*."""
    return _seen(state, epoch, sequence, moment, beat=False)


def beat(state: NodeState | None, epoch: str, sequence: int, moment: datetime) -> Seen:
    """Return the same after a heartbeat, which carries the last *sequence* given and takes none itself."""
    return _seen(state, epoch, sequence, moment, beat=True)


def _seen(state: NodeState | None, epoch: str, sequence: int, moment: datetime, *, beat: bool) -> Seen:
    findings: list[Finding] = []
    if state is not None and state.silent:
        findings.append(NodeBack(state.heard))
    before = state.epochs if state else ()
    known = next((each for each in before if each.id == epoch), None)
    if known is None:
        previous = before[-1] if before else None
        findings.append(EpochStarted(epoch, *((previous.id, previous.highest) if previous else (None, None))))
        # Of a node never seen before, the numbers before its first are not ours to miss; a heartbeat has none itself.
        first = 1 if previous else sequence + beat
        known, before = Epoch(epoch, first, first - 1), (*before, Epoch(epoch, first, first - 1))[-EPOCHS:]
    seen, more = _claimed(known, sequence, moment) if beat else _arrived(known, sequence, moment)
    epochs = tuple(seen if each.id == epoch else each for each in before)
    beating = beat or (state is not None and state.beating)
    return NodeState(heard=moment, epochs=epochs, beating=beating), findings + more


def _claimed(epoch: Epoch, sequence: int, moment: datetime) -> tuple[Epoch, list[Finding]]:
    """Count the number that a heartbeat carries as given to a record, which may be on its way."""
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
            closed = gap.told and not any(each.opened == gap.opened for each in gaps)
            return replace(epoch, gaps=gaps), [GapClosed(epoch.id, *gap.opened)] if closed else []
    return epoch, [Duplicate(epoch.id, sequence)]


def _with_hole(epoch: Epoch, first: int, last: int, moment: datetime) -> Epoch:
    if first > last:
        return epoch
    gaps = (*epoch.gaps, Gap(first, last, (first, last), moment))
    # Past the bound the oldest is forgotten: it was told of, or it was never more than noise.
    return replace(epoch, highest=last, gaps=gaps[-GAPS:])


def _without(gap: Gap, sequence: int, moment: datetime) -> Iterable[Gap]:
    pieces = ((gap.first, sequence - 1), (sequence + 1, gap.last))
    return [replace(gap, first=first, last=last, since=moment) for first, last in pieces if first <= last]


def overdue(state: NodeState, moment: datetime, patience: timedelta) -> Seen:
    """Return what is known, and the gaps that are to be told of now: no progress for *patience*."""
    findings: list[Finding] = []
    epochs = []
    for epoch in state.epochs:
        gaps = []
        for gap in epoch.gaps:
            due = not gap.told and moment - gap.since >= patience
            # What is told of is what is missing now; the rest of a hole is another gap.
            gaps.append(replace(gap, told=True, opened=(gap.first, gap.last)) if due else gap)
            findings += [GapOpened(epoch.id, gap.first, gap.last)] if due else []
        epochs.append(replace(epoch, gaps=tuple(gaps)))
    return replace(state, epochs=tuple(epochs)), findings


def silent(state: NodeState, moment: datetime, silence: timedelta, since: datetime) -> Seen:
    """Return what is known, and NodeSilent once, where nothing came for *silence* although we listened *since* then."""
    quiet = moment - max(state.heard, since)
    if not state.beating or state.silent or quiet < silence:
        return state, []
    return replace(state, silent=True), [NodeSilent(state.heard)]
