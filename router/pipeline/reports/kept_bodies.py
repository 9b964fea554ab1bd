"""Decides which rejected records are kept, so that a flood of garbage does not fill the broker and the store.  Pure.

Of each user a number are kept within a period.  Further ones are acknowledged and only counted:
`recordRejected`, the state and the metrics say how many.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ...model.bounds import REJECTED_BODIES, REJECTED_PERIOD
from .rejection_reports import Rejected


@dataclass(frozen=True, slots=True)
class Kept:
    """How many rejected records of one user were kept *since* then."""

    since: datetime
    records: int = 0


KeptBodies = Mapping[str | None, Kept]


def keep(kept: KeptBodies, rejected: Iterable[Rejected], moment: datetime) -> tuple[KeptBodies, list[Rejected]]:
    """Return what is *kept* after *rejected*, and these, each with whether it is kept."""
    counted = {user: each for user, each in kept.items() if moment - each.since < REJECTED_PERIOD}
    judged = []
    for each in rejected:
        mine = counted.get(each.user, Kept(moment))
        is_kept = mine.records < REJECTED_BODIES
        counted[each.user] = replace(mine, records=mine.records + is_kept)
        judged.append(replace(each, is_kept=is_kept))
    return counted, judged


def dismissed(judged: Iterable[Rejected]) -> Counter[str]:
    """Return how many of *judged* are not kept, by user; an empty text for those without one."""
    return Counter(each.user or "" for each in judged if not each.is_kept)
