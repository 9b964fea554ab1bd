"""The blast radius: on how many nodes an action may act within a time.  No clock, no store: only decisions.

A node counts from the moment when an action on it is let through until the time has passed after that action's end.
A node that counts already may be acted on again: that widens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from router.cluster.facts.views import Known

from .guards import BlastRadius

LOOK = timedelta(seconds=5)
"""Between two looks at actions that are still under way."""

UNKNOWN = timedelta(minutes=1)
"""Between two looks for facts that are not known."""

_OLD = "it is not known which quorum nodes are down now, the facts are stale: run `clusterbus facts read`"

Acted = Mapping[str, datetime | None]
"""When actions on nodes ended, by node; None while one is under way."""


@dataclass(frozen=True, slots=True)
class Members:
    """What the facts say of a cluster: how many nodes a percentage is of, and its quorum nodes.

    *down* are quorum nodes that are not active, *most* is on how many of the quorum nodes one may act at once.
    *is_old* says that the facts are too old to tell which quorum nodes are down now.
    """

    count: int
    quorum: frozenset[str]
    down: frozenset[str]
    most: int
    is_old: bool = False

    @classmethod
    def of(cls, known: Known | None, radius: BlastRadius) -> Self | str:
        """Return what is *known* and needed for *radius*, or why that is not known."""
        values = known.values if known else None
        if values is None or values.get("nodes") is None:
            return f"the nodes of the cluster are {known.missing if known and known.missing else 'not known'}"
        nodes: Mapping[str, Mapping[str, Any]] = values["nodes"]
        count = len(nodes)
        if radius.of is not None:
            members = (values.get("node_classes") or {}).get(radius.of)
            if members is None:
                return f"the node class {radius.of} is not known"
            count = len(members)
        # A node whose role is not known may be a quorum node.
        quorum = frozenset(name for name, each in nodes.items() if each["quorum"] is not False)
        down = frozenset(name for name in quorum if nodes[name]["state"] not in (None, "active"))
        has_tiebreaker = (values.get("quorum") or {}).get("tiebreaker") is True
        most = len(quorum) // 2 if has_tiebreaker else max(0, len(quorum) - 1) // 2
        return cls(count, quorum, down, most, is_old=values["parts"]["states"]["stale"])


@dataclass(frozen=True, slots=True)
class Room:
    """On which nodes an action may act now (*allowed*), and otherwise how long to wait, and why.

    *never* says that waiting does not help, *is_unknown* that facts are missing.
    """

    allowed: tuple[str, ...]
    wait: timedelta = timedelta()
    reason: str = ""
    never: bool = False
    is_unknown: bool = False


def room(
    radius: BlastRadius, wanted: Sequence[str], acted: Acted, quorum_acted: Acted, members: Members, now: datetime
) -> Room:
    """Return on which of *wanted* nodes to act *now*, in their order.

    *acted* are the nodes that count for *radius* already, *quorum_acted* the quorum nodes that any action acted on.
    """
    most = radius.most(members.count)
    free, quorum_free = most - len(acted), members.most - len({*quorum_acted, *members.down})
    allowed: list[str] = []
    stopped_by = ""
    for node in wanted:
        is_voter = node in members.quorum and node not in quorum_acted and node not in members.down
        if node not in acted and free <= 0:
            stopped_by = stopped_by or "nodes"
        elif is_voter and (members.is_old or quorum_free <= 0):
            stopped_by = "quorum"
        else:
            allowed.append(node)
            free -= node not in acted
            quorum_free -= is_voter
    if not stopped_by:
        return Room(tuple(allowed))
    within = radius.within
    never = stopped_by == "quorum" and not members.most
    if stopped_by == "quorum" and members.is_old and not never:
        return Room(tuple(allowed), LOOK, _OLD, is_unknown=True)
    if stopped_by == "quorum":
        held = quorum_acted
        reason = f"{_count(members.most, 'quorum node')} of {len(members.quorum)} may be acted on at once"
        reason += f", {len(members.down)} are down" if members.down else ""
    else:
        held = acted
        reason = f"{_count(most, 'node')} in {radius.text}"
    return Room(tuple(allowed), _until_free(held, within, now), reason, never)


def _until_free(acted: Acted, within: timedelta, now: datetime) -> timedelta:
    """Return how long to wait until one of *acted* counts no more; while actions are under way, look again soon."""
    ended = [each + within - now for each in acted.values() if each is not None]
    return max(timedelta(seconds=1), min(ended, default=LOOK))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
