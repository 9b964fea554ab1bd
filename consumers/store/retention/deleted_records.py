"""How many rejected records of each user retention has deleted, until a day after the last one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ..schema import deleted_records as table

_REMEMBERED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many rejected records of *user* were deleted, from *since* to *latest*."""

    user: str
    count: int
    since: datetime
    latest: datetime


def add(transaction: Connection, numbers: Mapping[str, int], now: datetime) -> None:
    """Note that so many were deleted *now*, by user; forget users of whom none was for a day."""
    transaction.execute(delete(table).where(table.c.latest < now - _REMEMBERED))
    if not numbers:
        return
    statement = inserting(transaction.dialect.name, table)
    added = {"count": table.c["count"] + statement.excluded["count"], "latest": statement.excluded.latest}
    rows = [{"user": user, "since": now, "latest": now, "count": number} for user, number in numbers.items()]
    transaction.execute(statement.on_conflict_do_update(index_elements=[table.c.user], set_=added), rows)


def worst(transaction: Connection, most: int) -> list[Deleted]:
    """Return the users of whom most were deleted, at most *most* of them, the worst first."""
    columns = (table.c[each] for each in ("user", "count", "since", "latest"))
    query = select(*columns).order_by(table.c["count"].desc(), table.c.user).limit(most)
    return [Deleted(*row) for row in transaction.execute(query)]


def total(transaction: Connection) -> int:
    """Return how many were deleted of all users."""
    return int(transaction.scalar(select(func.sum(table.c["count"]))) or 0)
