"""Limits how often the same is reported, so that a flood of causes does not become a flood of events.  Pure.

The first few reports of one kind are published at once.  Further ones are held back and merged, and what they became is
published when the interval has ended.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, Protocol, Self, TypeVar

INTERVAL = timedelta(minutes=1)


class Mergeable(Protocol):
    """A report that can stand for several."""

    def and_also(self, later: Self) -> Self:
        """Return the report for this one and a *later* one."""


Kind = TypeVar("Kind", bound=Hashable)
OneReport = TypeVar("OneReport", bound=Mergeable)


@dataclass(frozen=True, slots=True)
class Tally(Generic[OneReport]):
    """How many reports of one kind were *published* at once *since* then, and the report *held* back."""

    since: datetime
    published: int = 0
    held: OneReport | None = None


def count(
    tallies: Mapping[Kind, Tally[OneReport]],
    reports: Iterable[tuple[Kind, OneReport]],
    moment: datetime,
    *,
    at_once: int,
) -> tuple[Mapping[Kind, Tally[OneReport]], list[tuple[Kind, OneReport]]]:
    """Return the tallies after *reports*, and those of them to publish now: *at_once* of each kind."""
    counted = dict(tallies)
    now: list[tuple[Kind, OneReport]] = []
    for kind, each in reports:
        tally = counted.get(kind) or Tally(moment)
        if tally.published < at_once:
            counted[kind] = replace(tally, published=tally.published + 1)
            now.append((kind, each))
        else:
            counted[kind] = replace(tally, held=tally.held.and_also(each) if tally.held else each)
    return counted, now


def due(
    tallies: Mapping[Kind, Tally[OneReport]], moment: datetime, *, at_once: int
) -> tuple[Mapping[Kind, Tally[OneReport]], list[tuple[Kind, OneReport]]]:
    """Return the tallies without those whose interval has ended, and the reports that those held back."""
    kept: dict[Kind, Tally[OneReport]] = {}
    reports: list[tuple[Kind, OneReport]] = []
    for kind, tally in tallies.items():
        if moment - tally.since < INTERVAL:
            kept[kind] = tally
        elif tally.held:
            reports.append((kind, tally.held))
            # What was held back is held back again: one report an interval, until one passes without any.
            kept[kind] = Tally(moment, at_once)
    return kept, reports
