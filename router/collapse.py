"""Which records speak of one occurrence.  No clock, no state: only values.

A global event runs its callback on every registered node: n nodes, n records, one occurrence.  The first record that
arrives becomes the event; the others are copies.  It is the moments of capture that are compared, so the copy of a
relay that was cut off for an hour still finds its occurrence.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .catalogue import Catalogue, EventType
from .events import Value


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened to a whole cluster, known by the event that told of it first.

    *captured* is when that first record was captured; *observers* are the nodes that have told of it.
    """

    event: str
    key: str
    captured: datetime
    observers: frozenset[str]

    def observed_by(self, node: str) -> "Occurrence":
        """Return it with *node* among its observers."""
        return replace(self, observers=self.observers | {node})


def key_of(cluster: str, event_type: EventType, data: Mapping[str, Value], catalogue: Catalogue) -> str:
    """Return what all copies of an occurrence have in common, as 32 hexadecimal digits.

    That is the cluster, the event type, and the data less what speaks of the reporting node; unless the event is about
    just that: a new cluster manager is another occurrence, although every node says who the manager is.
    """
    reporting = {*catalogue.reporting} - {*event_type.subject}
    shared = {
        # Nodes list the same names in an order of their own.
        name: sorted(value) if isinstance(value, list) else value
        for name, value in data.items()
        if name not in reporting
    }
    text = json.dumps([event_type.type, cluster, shared], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def belongs_to(
    captured: datetime, node: str, occurrences: Iterable[Occurrence], window: timedelta
) -> Occurrence | None:
    """Return the occurrence that a record of *node* tells of, None where it is the first to tell.

    It is the earliest of *occurrences*, all of one key, that was captured within *window* either way and that *node*
    has not yet observed: a node that tells twice tells of two.
    """
    candidates = [
        each for each in occurrences if abs(captured - each.captured) <= window and node not in each.observers
    ]
    return min(candidates, key=lambda each: (each.captured, each.event), default=None)
