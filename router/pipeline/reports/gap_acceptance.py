"""Reported gaps as a person sees them, and accepts them: records that will not arrive, as after a restore of the state.

A running router takes part: it reads the state of a node anew for each batch, and publishes what is in the outbox.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from ...model.catalogue import Catalogues
from ...model.records import written
from ..gap_detection import NodeState, Place, accepted
from ..state import Changes, State, Transaction
from .finding_events import finding_event
from .finding_reports import Report


@dataclass(frozen=True, slots=True)
class Missing:
    """*count* records that did not arrive from *node*: the numbers *first* to *last* of *epoch*, since *since*.

    *may_forget* says that the router may have forgotten older gaps of the node.
    """

    cluster: str
    node: str
    epoch: str
    first: int
    last: int
    count: int
    since: str
    may_forget: bool


def missing(state: State, nodes: Collection[str] | None) -> list[Missing]:
    """Return the reported gaps of *nodes*, None meaning all nodes.  Raises StateError."""
    with state.transaction() as transaction:
        return list(_missing(_with_gaps(transaction, nodes)))


def accept(
    state: State, nodes: Collection[str], catalogues: Catalogues, moment: datetime, *, by: str, comment: str
) -> list[Missing]:
    """Remove the reported gaps of *nodes*, with an event for each, and return them.  Raises StateError."""
    changes = Changes()
    with state.transaction() as transaction:
        found = _with_gaps(transaction, nodes)
        for (cluster, node), before in found.items():
            changes.nodes[cluster, node], findings = accepted(before, by, comment)
            changes.outbox += [finding_event(Report(each), cluster, node, catalogues, moment) for each in findings]
        if changes:
            transaction.write(changes, moment)
    return list(_missing(found))


def _with_gaps(transaction: Transaction, nodes: Collection[str] | None) -> Mapping[Place, NodeState]:
    found = transaction.nodes_with_gaps()
    return {place: each for place, each in found.items() if nodes is None or place[1] in nodes}


def _missing(found: Mapping[Place, NodeState]) -> Iterator[Missing]:
    for (cluster, node), state in sorted(found.items()):
        for epoch in state.epochs:
            for gap in epoch.gaps:
                if gap.reported:
                    count, since = gap.last - gap.first + 1, written(gap.since)
                    yield Missing(cluster, node, epoch.id, gap.first, gap.last, count, since, state.may_forget)
