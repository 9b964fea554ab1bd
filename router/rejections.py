"""How often rejections are told of: a flood of garbage is not to become a flood of events.  Pure.

A user's first rejected record is told of at once; the next ones are counted, and told of together a minute later.
The records themselves are all in `clusterbus.rejected`, each with its reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

INTERVAL = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that *user*, where the broker vouches for one, published under *key*, and why it was rejected."""

    record: str | None
    key: str
    user: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be told: *count* records of one user were rejected, the last of them *example*."""

    example: Rejected
    count: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What was *held* back for one user *since* its last report."""

    since: datetime
    held: Report | None = None


Tallies = Mapping[str | None, Tally]


def count(tallies: Tallies, rejected: Iterable[Rejected], moment: datetime) -> tuple[Tallies, list[Report]]:
    """Return the tallies after *rejected*, and what is to be told now."""
    counted = dict(tallies)
    reports = []
    for each in rejected:
        tally = counted.get(each.user)
        if tally is None:
            counted[each.user] = Tally(moment)
            reports.append(Report(each, 1))
        else:
            counted[each.user] = replace(tally, held=Report(each, tally.held.count + 1 if tally.held else 1))
    return counted, reports


def due(tallies: Tallies, moment: datetime) -> tuple[Tallies, list[Report]]:
    """Return the tallies, less those whose interval is over, and what was held back in those."""
    over = {user: tally for user, tally in tallies.items() if moment - tally.since >= INTERVAL}
    reports = [tally.held for tally in over.values() if tally.held]
    # Who was just told of is held back again: else every other report of a flood would be of one record.
    kept = {user: tally for user, tally in tallies.items() if user not in over}
    return kept | {user: Tally(moment) for user, tally in over.items() if tally.held}, reports
