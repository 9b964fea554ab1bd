"""Limits how often findings are reported, so that a node that invents spools or gaps causes no flood of events.  Pure.

The first few findings of one kind on one node are reported at once, each in its own event.  Further ones are counted,
and reported together a minute later: the last of them, and their number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ...model.bounds import FINDINGS
from ..foreign_refusals import Refusing, RefusingEnded
from ..gap_detection import Finding, Place
from ..ingress.flood_detection import Flood, FloodEnded
from . import report_limits
from .report_limits import Tally

Found = Finding | Flood | FloodEnded | Refusing | RefusingEnded


@dataclass(frozen=True, slots=True)
class Report:
    """A report to publish: *count* findings of one kind, the last of which is *example*."""

    example: Found
    count: int = 1

    def and_also(self, later: "Report") -> "Report":
        """Return a report on *later* too."""
        return Report(later.example, self.count + later.count)


Placed = tuple[Place, Report]
FindingTallies = Mapping[tuple[Place, type[Found]], Tally[Report]]


def count(
    tallies: FindingTallies, found: Iterable[tuple[Place, Found]], moment: datetime
) -> tuple[FindingTallies, list[Placed]]:
    """Return the tallies after *found*, and the reports to publish now."""
    reports = (((place, type(each)), Report(each)) for place, each in found)
    counted, now = report_limits.count(tallies, reports, moment, at_once=FINDINGS)
    return counted, [(place, report) for (place, _), report in now]


def due(tallies: FindingTallies, moment: datetime) -> tuple[FindingTallies, list[Placed]]:
    """Return the tallies without those whose interval has ended, and the reports that those held back."""
    kept, reports = report_limits.due(tallies, moment, at_once=FINDINGS)
    return kept, [(place, report) for (place, _), report in reports]
