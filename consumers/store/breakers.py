"""The table of breakers: the targets that failed of late, and how long they are left alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from ..breakers import Breaker
from .schema import breakers as table


def find(transaction: Connection, targets: Collection[str] | None = None) -> dict[str, Breaker]:
    """Return the breakers of *targets* that have failed of late, or of all, by target."""
    query = select(table).order_by(table.c.target)
    if targets is not None:
        query = query.where(table.c.target.in_([*targets]))
    return {row["target"]: Breaker(**row) for row in transaction.execute(query).mappings()}


def write(transaction: Connection, breakers: Iterable[Breaker]) -> None:
    """Write *breakers* in place of what was known of their targets."""
    rows = [asdict(each) for each in breakers]
    if rows:
        close(transaction, [each["target"] for each in rows])
        transaction.execute(insert(table), rows)


def close(transaction: Connection, targets: Collection[str]) -> int:
    """Forget the failures of *targets*; return how many of them had any."""
    return transaction.execute(delete(table).where(table.c.target.in_([*targets]))).rowcount
