"""The statements of retention: each deletes a limited number of old rows of one table, found by an index."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, func, select, text
from sqlalchemy.engine import Connection

from .. import audit
from ..schema import amendments, approvals, deliveries, events, letters, metadata

MOST_OF_PUBLISHER = 1_000
"""How many rejected records of one user are kept: with bodies and headers of the greatest size, 128 MiB."""

_KEY = [*deliveries.primary_key.columns]
_DELETE = delete(deliveries).where(*(each == bindparam(f"its_{each.name}") for each in _KEY))


def delete_deliveries(transaction: Connection, before: datetime, limit: int) -> int:
    """Delete up to *limit* attempts that began before *before* and have ended; return how many."""
    ended = deliveries.c.outcome.is_not(None) & (deliveries.c.outcome != "wait")
    query = select(*_KEY).where(deliveries.c.started < before, ended).order_by(deliveries.c.started).limit(limit)
    found = [{f"its_{name}": value for name, value in row.items()} for row in transaction.execute(query).mappings()]
    if found:
        transaction.execute(_DELETE, found)
    return len(found)


def delete_letters(transaction: Connection, before: datetime, limit: int) -> int:
    """Delete up to *limit* letters that were replayed or dropped before *before*, with their edits; return how many."""
    found: list[str] = []
    for state in ("replayed", "dropped"):
        query = select(letters.c.id).where(letters.c.state == state, letters.c.settled_at < before)
        found += transaction.scalars(query.order_by(letters.c.settled_at).limit(limit - len(found)))
    _delete_letters(transaction, found)
    return len(found)


def delete_rejected(transaction: Connection, limit: int) -> dict[str, int]:
    """Delete up to *limit* rejected records, the oldest of each user who has too many; return how many of each user.

    They go whether they wait for a decision or not: one node that sends garbage must not fill the store.
    """
    number = func.count()
    counted = select(letters.c.publisher, number).where(letters.c.publisher > "").group_by(letters.c.publisher)
    found: list[str] = []
    deleted = {}
    for publisher, letters_of_it in transaction.execute(counted.having(number > MOST_OF_PUBLISHER)).all():
        oldest = select(letters.c.id).where(letters.c.publisher == publisher).order_by(letters.c.kept_at)
        most = min(letters_of_it - MOST_OF_PUBLISHER, limit - len(found))
        ids = [*transaction.scalars(oldest.limit(most))]
        if ids:
            found += ids
            deleted[publisher] = len(ids)
    _delete_letters(transaction, found)
    return deleted


def _delete_letters(transaction: Connection, ids: list[str]) -> None:
    if ids:
        transaction.execute(delete(amendments).where(amendments.c.letter.in_(ids)))
        transaction.execute(delete(letters).where(letters.c.id.in_(ids)))


def delete_approvals(transaction: Connection, before: datetime, limit: int) -> int:
    """Delete up to *limit* requests for approval that ended before *before*; return how many."""
    found = [*transaction.scalars(select(approvals.c.id).where(approvals.c.until < before).limit(limit))]
    if found:
        transaction.execute(delete(approvals).where(approvals.c.id.in_(found)))
    return len(found)


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
