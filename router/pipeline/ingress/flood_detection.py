"""Detects nodes that send more than their share, and notices when they are quiet again.  Pure.

A node floods if within one window it costs the router more than a limit, and more than all other nodes together, of
which at least one sends too.  It is quiet again after several windows in each of which it cost a small part of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(seconds=5)
LIMIT = 2 * 2**20
"""Octets of a node in a window, each record counted as `turns.cost` says; some 1,400 small records."""

_QUIET = LIMIT // 8
_QUIET_WINDOWS = 6


@dataclass(frozen=True, slots=True)
class Flood:
    """What a node sent in the window in which it was found to flood."""

    records: int
    octets: int


@dataclass(frozen=True, slots=True)
class FloodEnded:
    """A node that flooded keeps to its share again."""


class Meter:
    """What each node sent lately."""

    def __init__(self) -> None:
        """Begin with no node."""
        self._begun: datetime | None = None
        self._records: dict[str, int] = {}
        self._octets: dict[str, int] = {}
        self._total = 0
        self._flooding: dict[str, int] = {}

    @property
    def flooding(self) -> Mapping[str, int]:
        """The nodes that flood, each with the number of windows for which it has been quiet."""
        return self._flooding

    def count(self, node: str, octets: int, moment: datetime) -> Flood | None:
        """Count a record of *node* that costs *octets*; returns the flood if it begins with this record."""
        if self._begun is None:
            self._begun = moment
        self._records[node] = self._records.get(node, 0) + 1
        mine = self._octets[node] = self._octets.get(node, 0) + octets
        self._total += octets
        if mine <= LIMIT or node in self._flooding or not self._total - mine < mine < self._total:
            return None
        self._flooding[node] = 0
        return Flood(self._records[node], mine)

    def is_flooding(self, node: str) -> None:
        """Note that *node* was found to flood before: by the router of before."""
        self._flooding.setdefault(node, 0)

    def quiet(self, moment: datetime) -> list[str]:
        """Return the nodes whose flood has ended by *moment*, at most one window after another."""
        if self._begun is None:
            self._begun = moment
        # A window also ends where the clock is set back.
        if self._begun <= moment < self._begun + WINDOW:
            return []
        for node in self._flooding:
            self._flooding[node] = self._flooding[node] + 1 if self._octets.get(node, 0) < _QUIET else 0
        self._begun, self._records, self._octets, self._total = moment, {}, {}, 0
        ended = [node for node, windows in self._flooding.items() if windows >= _QUIET_WINDOWS]
        for node in ended:
            del self._flooding[node]
        return ended
