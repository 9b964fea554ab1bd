"""The table of silences: which notifications are muted, by who, until when, and why.  Retention deletes old ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from .schema import silences as table


@dataclass(frozen=True, slots=True)
class Silence:
    """Mutes *subscription*, or all subscriptions that notify if it is empty, for events that match *where*."""

    id: str
    subscription: str
    where: str
    author: str
    comment: str
    made: datetime
    until: datetime


def add(transaction: Connection, silence: Silence) -> None:
    """Write *silence*."""
    transaction.execute(insert(table), asdict(silence))


def find(transaction: Connection, *, at: datetime | None = None) -> list[Silence]:
    """Return all silences, or those in effect *at* a moment, oldest first."""
    query = select(table) if at is None else select(table).where(table.c.until > at)
    # Sorted here: SQLite would read all silences in the order of their ids.
    found = (Silence(**row) for row in transaction.execute(query).mappings())
    return sorted(found, key=lambda each: each.id)


def expire(transaction: Connection, silence_id: str, at: datetime) -> bool:
    """End a silence *at* this moment; return False if it does not exist or has expired."""
    here = (table.c.id == silence_id) & (table.c.until > at)
    return transaction.execute(update(table).where(here).values(until=at)).rowcount == 1
