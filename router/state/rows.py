"""How what is known is written into rows, and read back.  Pure."""

import json
from dataclasses import dataclass

from ..collapse import Occurrence
from ..continuity import Epoch, Gap, NodeState
from .schema import microseconds, moment

_MOST_MISSING = 10**12

Place = tuple[str, str]
"""Cluster and node."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of *record* of *node*: it is *event*, or a copy of what *event* tells."""

    record: str
    event: str
    node: str

    @property
    def is_copy(self) -> bool:
        """Whether another record is the event."""
        return self.record != self.event


def fate_row(fate: Fate, received: int) -> dict[str, object]:
    """Return *fate* as it is stored."""
    return {
        "id": fate.record,
        "event": fate.event,
        "is_copy": fate.is_copy,
        "node": fate.node,
        "received": received,
    }


def occurrence_row(each: Occurrence, received: int) -> dict[str, object]:
    """Return an occurrence as it is stored; its observers are rows of their own."""
    return {"event": each.event, "key": each.key, "captured": microseconds(each.captured), "received": received}


def node_row(place: Place, state: NodeState) -> dict[str, object]:
    """Return what is known of the node at *place* as it is stored."""
    untold = state.untold
    return {
        "cluster": place[0],
        "node": place[1],
        "heard": microseconds(state.heard),
        "beating": state.beating,
        "silent": state.silent,
        # A forger can claim to miss more than a column, or the sum of several, can hold.
        "missing": min(state.missing, _MOST_MISSING),
        "untold": None if untold is None else microseconds(untold),
        "epochs": json.dumps([_epoch_row(each) for each in state.epochs]),
    }


def _epoch_row(epoch: Epoch) -> list[object]:
    gaps = [[gap.first, gap.last, *gap.opened, microseconds(gap.since), gap.told] for gap in epoch.gaps]
    return [epoch.id, epoch.first, epoch.highest, gaps]


def epochs_of(text: str) -> tuple[Epoch, ...]:
    """Return the epochs that were stored."""
    return tuple(
        Epoch(
            id_,
            first,
            highest,
            tuple(Gap(start, end, (opened, closed), moment(at), told) for start, end, opened, closed, at, told in gaps),
        )
        for id_, first, highest, gaps in json.loads(text)
    )
