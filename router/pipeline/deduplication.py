"""Which records report the same occurrence.  No clock, no state: only values.

A global event runs its callback on every registered node: n nodes write n records of one occurrence.  The first record
that arrives becomes the event; the others are copies.  The comparison uses the times of capture, so a copy finds its
occurrence even if its relay was offline for an hour.

A node may claim any time, and must not silence others.  So no report counts as captured after it was received, and no
report is a copy of what one other node alone had reported some time before it was captured: it is an event again.
Nor is it a copy of what that node repeats without anyone's confirmation, or the node need only repeat it often enough.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..model.catalogue import EVENT_NAME, Catalogue, EventType
from ..model.events import Value

TOGETHER = timedelta(seconds=30)
"""How much later than the first report was received a second node may capture its own of the same occurrence."""


MOST = 20
"""How many occurrences with one key a node may report within one window, for copies of others to be found among them.

It bounds what one node can make the router compare: no cluster leaves and joins as often.
"""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened to a whole cluster, identified by the event that reported it first.

    *captured* and *received* are the times of that first record; *observers* are the nodes that reported it.
    """

    event: str
    key: str
    captured: datetime
    received: datetime
    observers: frozenset[str]

    def observed_by(self, node: str) -> "Occurrence":
        """Return this occurrence with *node* among its observers."""
        return replace(self, observers=self.observers | {node})


def key_of(cluster: str, event_type: EventType, data: Mapping[str, Value], catalogue: Catalogue) -> str:
    """Return the key that all copies of an occurrence share, as 32 hexadecimal digits.

    It covers the cluster, the event type, and the data without the variables about the reporting node.  A variable
    that is the subject of the event always counts: a new cluster manager is a new occurrence, although every node
    reports the manager.
    """
    # The type already says the event's name, which not every record gives.
    reporting = {*catalogue.reporting, EVENT_NAME} - {*event_type.subject}
    shared = {
        # Nodes list the same names in different orders.
        name: sorted(value) if isinstance(value, list) else value
        for name, value in data.items()
        if name not in reporting
    }
    text = json.dumps([event_type.type, cluster, shared], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def belongs_to(
    captured: datetime, node: str, occurrences: Iterable[Occurrence], window: timedelta
) -> Occurrence | None:
    """Return the occurrence that a record of *node* reports, or None if it is the first report.

    That is the earliest of *occurrences*, which all have one key and were received before, captured at most *window*
    before or after *captured* and not yet observed by *node*: two reports of one node are two occurrences.  What one
    node alone reported is none of them if *captured* is more than `TOGETHER` after that report was received, or if the
    same node alone had reported another one before, captured at most twice *window* before or after *captured*.
    """
    known = [each for each in occurrences if abs(captured - each.captured) <= 2 * window]
    alone = _first_alone(known)
    candidates = [
        each
        for each in known
        if abs(captured - each.captured) <= window
        and node not in each.observers
        and (len(each.observers) > 1 or (each.event in alone and captured - each.received <= TOGETHER))
    ]
    return min(candidates, key=lambda each: (each.captured, each.event), default=None)


def _first_alone(occurrences: Iterable[Occurrence]) -> set[str]:
    """Return, for each node that alone reported some of *occurrences*, the event of the one that was received first."""
    first: dict[frozenset[str], Occurrence] = {}
    for each in occurrences:
        if len(each.observers) == 1:
            first[each.observers] = min(first.get(each.observers, each), each, key=_order_of_arrival)
    return {each.event for each in first.values()}


def _order_of_arrival(each: Occurrence) -> tuple[datetime, datetime, str]:
    return each.received, each.captured, each.event


def may_have_copies(captured: datetime, node: str, occurrences: Iterable[Occurrence], window: timedelta) -> bool:
    """Say whether what *node* is the first to report is kept for comparison: not beyond `MOST` of *occurrences* of its.

    Beyond that each report of the node is an event all the same, and others' reports are compared with earlier ones.
    """
    own = (each for each in occurrences if node in each.observers and abs(captured - each.captured) <= window)
    return sum(1 for _ in own) < MOST


def spans(moments: Iterable[int], width: int) -> list[tuple[int, int]]:
    """Return the times within *width* of any of *moments*, as spans that do not overlap, in order; all in one unit.

    One batch may hold claims of far apart times; what lies between them concerns none of its records.

    >>> spans([100, 105, 900], 10)
    [(90, 115), (890, 910)]
    """
    found: list[tuple[int, int]] = []
    for each in sorted(moments):
        begin = found.pop()[0] if found and each - width <= found[-1][1] else each - width
        found.append((begin, each + width))
    return found
