"""The time that has passed for alerts, and the engine that counts it: one row.

What is due is due after a time has passed, not at a time of day: so a clock that jumps makes nothing due.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ..schema.alert_tables import clock as table

LONGEST = timedelta(minutes=1)
"""How much passes at most between engines that share no steady clock: on two hosts, or before and after a boot.

Only clocks of the day tell how long that was, and they may be wrong by days.  What is due waits so much longer.
"""

_NAME = "passed"
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Passed:
    """The milliseconds that have *passed* when *owner* counted last: *booted* ms after its host's *boot*, *at* a time.

    *ticks* is how often it was counted.
    """

    passed: int
    owner: str
    boot: str
    booted: int
    at: datetime
    ticks: int

    def counted(self, owner: str, boot: str, booted: int, now: datetime) -> Passed:
        """Return the time as *owner* counts it *now*, *booted* milliseconds after its host's *boot*.

        >>> noon = datetime(2026, 11, 20, 12)
        >>> Passed(5, "a", "boot 1", 1000, noon, 7).counted("b", "boot 1", 1600, noon + timedelta(days=1)).passed
        605
        >>> Passed(5, "a", "boot 1", 1000, noon, 7).counted("b", "boot 2", 10, noon + timedelta(days=1)).passed
        60005
        """
        if boot == self.boot and booted >= self.booted:
            more = booted - self.booted
        else:
            more = min(max(now - self.at, timedelta()), LONGEST) // _MILLISECOND
        return Passed(self.passed + more, owner, boot, booted, now, self.ticks + 1)


def read(transaction: Connection) -> Passed | None:
    """Return what was counted last; None before the first engine."""
    row = transaction.execute(select(table).where(table.c.name == _NAME)).mappings().one_or_none()
    return None if row is None else Passed(**{name: value for name, value in row.items() if name != "name"})


def passed(transaction: Connection) -> int:
    """Return the milliseconds that had passed when they were counted last."""
    known = read(transaction)
    return known.passed if known else 0


def write(transaction: Connection, counted: Passed) -> None:
    """Write what was counted."""
    transaction.execute(_writing(transaction.dialect.name), {"name": _NAME, **asdict(counted)})


@cache
def _writing(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what `write` executes; it takes longer to build than to execute."""
    statement = inserting(dialect, table)
    changed = {each.name: statement.excluded[each.name] for each in fields(Passed)}
    return statement.on_conflict_do_update(index_elements=["name"], set_=changed)
