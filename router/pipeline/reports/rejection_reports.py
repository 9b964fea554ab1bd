"""Limits how often rejections are reported, so that a flood of bad records does not cause a flood of events.  Pure.

The first rejected record of a user is reported at once; further ones are counted, and reported together a minute
later.  The records themselves are in `clusterbus.rejected`, each with its reason, up to a number that
`kept_bodies` decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from . import report_limits
from .report_limits import Tally


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected record, its *key*, its *user* if the broker validated one, and the *reason*.

    The user of a replayed record is that of the original.
    """

    record: str | None
    key: str
    user: str | None
    reason: str
    is_kept: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """A report to publish: *count* records of one user were rejected, the last of them is *example*.

    Of them *dropped* are not kept.
    """

    example: Rejected
    count: int
    dropped: int = 0

    @property
    def facts(self) -> dict[str, object]:
        """What the log says of it."""
        example = self.example
        return {"key": example.key, "user": example.user, "reason": example.reason, "count": self.count}

    def and_also(self, later: "Report") -> "Report":
        """Return a report on *later* too."""
        return Report(later.example, self.count + later.count, self.dropped + later.dropped)


Tallies = Mapping[str | None, Tally[Report]]


def count(tallies: Tallies, rejected: Iterable[Rejected], moment: datetime) -> tuple[Tallies, list[Report]]:
    """Return the tallies after *rejected*, and the reports to publish now."""
    reports = ((each.user, Report(each, 1, int(not each.is_kept))) for each in rejected)
    counted, now = report_limits.count(tallies, reports, moment, at_once=1)
    return counted, [report for _, report in now]


def due(tallies: Tallies, moment: datetime) -> tuple[Tallies, list[Report]]:
    """Return the tallies without those whose interval has ended, and the reports that those held back."""
    kept, reports = report_limits.due(tallies, moment, at_once=1)
    return kept, [report for _, report in reports]
