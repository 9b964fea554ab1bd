"""Detects nodes that send more than their share, and notices when they are quiet again.  Pure.

A node is set aside if within one second it sends more than a burst, and more than all other nodes together, of which at
least one sends too.  It is a flood, which is told, if what such a node sends within a minute adds up.  A node is quiet
again if for half a minute it has sent less than half of a burst in each second.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(seconds=1)
"""So short that little of a flood is in the queue that its node shares with others by the time it is set aside."""

BURST_RECORDS, BURST_OCTETS = 100, 2**20
"""The most of a node in a window, each record counted as `turns.cost` says; a record that is alone is no burst."""

FLOOD, PERIOD = 2 * 2**20, timedelta(minutes=1)
"""Octets of a node that is set aside, within a period, that are a flood; some 1,400 small records."""

_QUIET = 2
"""The part of a burst that a node may send in a window and still be quiet."""

QUIET = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Flood:
    """What a node that is set aside had sent within a minute when that was found to be a flood."""

    records: int
    octets: int


@dataclass(frozen=True, slots=True)
class FloodEnded:
    """A node that flooded keeps to its share again."""


@dataclass(slots=True)
class _Aside:
    """A node that is set aside: when it was last loud, and what it sent in the period that has begun."""

    loud: datetime
    begun: datetime
    records: int = 0
    octets: int = 0
    is_flood: bool = False


class Meter:
    """What each node sent lately."""

    def __init__(self) -> None:
        """Begin with no node."""
        self._begun: datetime | None = None
        self._records: dict[str, int] = {}
        self._octets: dict[str, int] = {}
        self._total = 0
        self._aside: dict[str, _Aside] = {}

    @property
    def aside(self) -> Collection[str]:
        """The nodes that are set aside."""
        return self._aside.keys()

    def count(self, node: str, octets: int, moment: datetime) -> Flood | None:
        """Count a record of *node* that costs *octets*, and set the node aside if needed; returns a flood to tell."""
        # A window also ends where the clock is set back.
        if self._begun is None or not self._begun <= moment < self._begun + WINDOW:
            self._begun, self._records, self._octets, self._total = moment, {}, {}, 0
        records = self._records[node] = self._records.get(node, 0) + 1
        mine = self._octets[node] = self._octets.get(node, 0) + octets
        aside = self._aside.get(node)
        if aside is None:
            # Those set aside do not count: a flood is also noticed beside a larger one.
            self._total += octets
            is_burst = records > BURST_RECORDS or (mine > BURST_OCTETS and records > 1)
            if is_burst and self._total - mine < mine < self._total:
                self._aside[node] = _Aside(moment, moment, records, mine)
                self._total -= mine
            return None
        if not aside.begun <= moment < aside.begun + PERIOD:
            aside.begun, aside.records, aside.octets = moment, 0, 0
        aside.records += 1
        aside.octets += octets
        if records > BURST_RECORDS // _QUIET or mine > BURST_OCTETS // _QUIET:
            aside.loud = moment
        if aside.is_flood or aside.octets <= FLOOD:
            return None
        aside.is_flood = True
        return Flood(aside.records, aside.octets)

    def set_aside(self, node: str, moment: datetime, *, is_flood: bool = False) -> None:
        """Set *node* aside whatever others send; it *is_flood* where the router of before has told it."""
        self._aside.setdefault(node, _Aside(moment, moment, is_flood=is_flood))

    def quiet(self, moment: datetime) -> dict[str, bool]:
        """Return the nodes that are quiet again by *moment*, each with whether that ends a flood."""
        for each in self._aside.values():
            # It is later than now where the clock is set back.
            each.loud = min(each.loud, moment)
        ended = {node: each.is_flood for node, each in self._aside.items() if moment - each.loud >= QUIET}
        for node in ended:
            del self._aside[node]
        return ended
