"""The statements of retention: each reads and deletes a limited number of old rows of one table, found by an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    RowMapping,
    ScalarSelect,
    Select,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.engine import Connection

from router.database.many_rows import delete_rows

from ...deliveries import FOLDED
from .. import audit
from ..attempts import WAIT
from ..schema import (
    alert_tables,
    amendments,
    approvals,
    breakers,
    deliveries,
    events,
    failures,
    folds,
    letters,
    metadata,
    passes,
    places,
    silences,
    stops,
)

MOST_OF_PUBLISHER = 1_000
"""How many rejected records of one user are kept: with bodies and headers of the greatest size, 128 MiB."""

REMEMBERED: tuple[Column[datetime], ...] = (
    passes.c.at,
    folds.c.told,
    places.c.until,
    failures.c.at,
    breakers.c.latest,
    alert_tables.receivers.c.tried,
)
"""What is deleted once nothing looks back on it, by when it was last of use."""

OF_DELIVERIES: tuple[Column[datetime], ...] = (approvals.c.until, silences.c.until)
"""What is kept as long as the deliveries that name it, by its end."""


class OldRows:
    """Reads the old rows of a table, a limited number at a time, the oldest first; then from the beginning again.

    So what stays although it is old, such as a delivery that never ended, makes no portion longer.
    """

    def __init__(self, column: Column[datetime], *more: ColumnElement[Any]) -> None:
        """Read keys of the table of *column*, which has an index, with that column and what *more* says of the rows."""
        self._order = (column, *column.table.primary_key.columns)
        self._query = select(*self._order, *more).order_by(*self._order)
        self._from: tuple[Any, ...] | None = None

    @property
    def has_more(self) -> bool:
        """Whether the last portion was not the end."""
        return self._from is not None

    def portion(self, transaction: Connection, before: datetime, limit: int) -> Sequence[RowMapping]:
        """Return the next rows, up to *limit* (at least two), whose column is before *before*."""
        query = self._query.where(self._order[0] < before)
        if self._from is not None:
            place = (literal(value, each.type) for each, value in zip(self._order, self._from, strict=True))
            query = query.where(tuple_(*self._order) >= tuple_(*place))
        found = transaction.execute(query.limit(limit)).mappings().all()
        self._from = None
        if len(found) == limit:
            self.go_on_with(found[-1])
        return found

    def go_on_with(self, row: RowMapping) -> None:
        """Begin the next portion with *row*."""
        self._from = tuple(row[each] for each in self._order)


def delete_old(transaction: Connection, column: Column[datetime], before: datetime, limit: int) -> int:
    """Delete up to *limit* rows whose *column*, which has an index, is before *before*; return how many."""
    query = select(*column.table.primary_key).where(column < before).order_by(column).limit(limit)
    found = transaction.execute(query).mappings().all()
    delete_rows(transaction, column.table, found)
    return len(found)


def delete_with(transaction: Connection, column: Column[str], values: Sequence[str]) -> None:
    """Delete the rows whose *column* has one of *values*: one after another, as PostgreSQL may read all for a list."""
    if values:
        statement: Any = delete(column.table).where(column == bindparam("its_value", type_=column.type))
        transaction.execute(statement, [{"its_value": each} for each in values])


def old_deliveries() -> OldRows:
    """Return the old attempts, for `delete_deliveries`."""
    return OldRows(deliveries.c.started, deliveries.c.ended, deliveries.c.outcome)


def delete_deliveries(
    transaction: Connection, old: OldRows, before: datetime, limit: int, *, lost_before: datetime
) -> int:
    """Delete those of up to *limit* attempts that began before *before* which have ended; return how many.

    One without an end that no consumer has met since *lost_before* goes too: its message is lost.  If it comes after
    all, it is delivered as a new one.
    """
    found = old.portion(transaction, before, limit)
    over = [
        each
        for each in found
        if each["outcome"] not in (None, WAIT) or (each["ended"] or each["started"]) < lost_before
    ]
    delete_rows(transaction, deliveries, over)
    return len(over)


def old_groups() -> OldRows:
    """Return the groups by when they were due, for `delete_lost_groups`."""
    same = (deliveries.c.event_id == folds.c.head, deliveries.c.subscription == folds.c.subscription)
    own = select(deliveries.c.event_id).where(*same, deliveries.c.replay == FOLDED)
    return OldRows(folds.c.due, folds.c.told.is_(None).label("is_open"), first_of(own).label("delivery"))


def delete_lost_groups(transaction: Connection, old: OldRows, before: datetime, limit: int) -> int:
    """Delete those of up to *limit* groups due before *before* that are open and have no delivery; return how many.

    The message that would deliver the group is lost.  If it comes after all, it delivers the first event alone.
    """
    found = old.portion(transaction, before, limit)
    lost = [each for each in found if each["is_open"] and each["delivery"] is None]
    delete_rows(transaction, folds, lost)
    return len(lost)


def old_stops() -> OldRows:
    """Return the stops that are over, since their ends are published, for `delete_stops`."""
    later = stops.alias()
    same = later.c.subscription == stops.c.subscription
    following = select(later.c.id).where(same, tuple_(later.c.at, later.c.id) > tuple_(stops.c.at, stops.c.id))
    return OldRows(stops.c.resume_reported, stops.c.reported, first_of(following).label("next"))


def delete_stops(transaction: Connection, old: OldRows, before: datetime, limit: int) -> int:
    """Delete those of up to *limit* stops that another of their subscription followed; return how many."""
    found = [each for each in old.portion(transaction, before, limit) if each["reported"] and each["next"]]
    delete_rows(transaction, stops, found)
    return len(found)


def first_of(query: Select[tuple[str]]) -> ScalarSelect[str]:
    """Return the first value of *query*, None if it has none: PostgreSQL would find `EXISTS` for all rows at once."""
    return query.limit(1).scalar_subquery()


def delete_letters(transaction: Connection, before: datetime, limit: int) -> int:
    """Delete up to *limit* letters that were replayed or dropped before *before*, with their edits; return how many."""
    found: list[str] = []
    for state in ("replayed", "dropped"):
        query = select(letters.c.id).where(letters.c.state == state, letters.c.settled_at < before)
        found += transaction.scalars(query.order_by(letters.c.settled_at).limit(limit - len(found)))
    _delete_letters(transaction, found)
    return len(found)


def with_too_many(transaction: Connection, limit: int) -> list[str]:
    """Return up to *limit* users with too many rejected records.

    It reads the index of all rejected records, so nobody should wait for *transaction*.
    """
    counted = select(letters.c.publisher).where(letters.c.publisher > "").group_by(letters.c.publisher)
    return [*transaction.scalars(counted.having(func.count() > MOST_OF_PUBLISHER).limit(limit))]


def delete_rejected(transaction: Connection, users: Sequence[str], limit: int) -> dict[str, int]:
    """Delete up to *limit* rejected records, the oldest of each of *users* who has too many; return how many of each.

    They go whether they wait for a decision or not: one node that sends garbage must not fill the store.
    """
    found: list[str] = []
    deleted = {}
    for user in users:
        own = letters.c.publisher == user
        number = transaction.scalar(select(func.count()).select_from(letters).where(own)) or 0
        most = min(number - MOST_OF_PUBLISHER, limit - len(found))
        if most > 0:
            ids = [*transaction.scalars(select(letters.c.id).where(own).order_by(letters.c.kept_at).limit(most))]
            found += ids
            deleted[user] = len(ids)
    _delete_letters(transaction, found)
    return deleted


def _delete_letters(transaction: Connection, ids: Sequence[str]) -> None:
    delete_with(transaction, amendments.c.letter, ids)
    delete_with(transaction, letters.c.id, ids)


def octets(transaction: Connection) -> int | None:
    """Return how much of the database's file is in use; None on PostgreSQL, which does not say it so quickly."""
    if transaction.dialect.name != "sqlite":
        return None
    pages, free, size = (
        transaction.execute(text(f"PRAGMA {each}")).scalar_one()
        for each in ("page_count", "freelist_count", "page_size")
    )
    used: int = (pages - free) * size
    return used


def sizes(transaction: Connection) -> tuple[int, int]:
    """Return how many octets the audit takes, about, and all else; on PostgreSQL with what deleted rows left behind."""
    if (used := octets(transaction)) is not None:
        audited = audit.octets(transaction)
        return audited, max(0, used - audited)
    asked = text("SELECT coalesce(pg_total_relation_size(to_regclass(:name)), 0)")
    found = {name: int(transaction.execute(asked, {"name": name}).scalar_one()) for name in metadata.tables}
    return found.pop(events.name), sum(found.values())
