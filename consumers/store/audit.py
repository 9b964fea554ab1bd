"""The audit of events: each once, in the order that it was written, chained so that a change shows.

`chain = sha256(the chain before || body)`.  Who can write the table can also write it anew from some row on, or take
rows off its end: keep the last chain elsewhere (it is in `head`) to notice that as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import bindparam, insert, or_, select
from sqlalchemy.engine import Connection

from ..deliveries import Delivery
from .database import lock
from .schema import events as table

START = b""
"""What stands before the first event."""


class Head(NamedTuple):
    """The last event's number, and the chain up to it."""

    sequence: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the audit."""

    sequence: int
    id: str
    event: str
    topic: str
    time: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Break:
    """The first row that is not as it was written, and what is wrong with it."""

    sequence: int
    id: str
    reason: str


def append(transaction: Connection, deliveries: Iterable[Delivery]) -> None:
    """Write the events of *deliveries*; those that are there already stay as they are.

    One writer at a time, whatever process it is in, so that there is one chain.
    """
    lock(transaction)
    new = {each.event.id: each for each in deliveries}
    for (known,) in transaction.execute(_KNOWN, {"ids": [*new]}):
        del new[known]
    sequence, chain = head(transaction)
    rows = []
    for sequence, delivery in enumerate(new.values(), sequence + 1):  # noqa: B020 - goes on from the last
        chain = hashlib.sha256(chain + delivery.body).digest()
        event = delivery.event
        rows.append(
            {
                "sequence": sequence,
                "id": event.id,
                "event": event.type,
                "topic": delivery.topic,
                "time": event.time,
                "body": delivery.body,
                "chain": chain,
            }
        )
    if rows:
        transaction.execute(_INSERT, rows)


_INSERT = insert(table)
_KNOWN = select(table.c.id).where(table.c.id.in_(bindparam("ids", expanding=True)))
_HEAD = select(table.c.sequence, table.c.chain).order_by(table.c.sequence.desc()).limit(1)


def head(transaction: Connection) -> Head:
    """Return where the chain stands."""
    row = transaction.execute(_HEAD).one_or_none()
    return Head(row.sequence, row.chain) if row else Head(0, START)


def verify(transaction: Connection) -> Break | None:
    """Read the audit from its beginning; return the first row that is broken, or None when all is as it was written."""
    chain = START
    query = select(table).order_by(table.c.sequence).execution_options(yield_per=1000)
    for sequence, row in enumerate(transaction.execute(query), 1):
        if row.sequence != sequence:
            return Break(row.sequence, row.id, f"row {sequence} is missing")
        chain = hashlib.sha256(chain + row.body).digest()
        if row.chain != chain:
            return Break(row.sequence, row.id, "the chain does not fit what stands before it and its body")
        attributes = json.loads(row.body)
        for column in ("id", "time"):
            if attributes.get(column) != row._mapping[column]:  # noqa: SLF001 - SQLAlchemy's own way
                return Break(row.sequence, row.id, f"its {column} is not the one of its body")
    return None


def find(
    transaction: Connection,
    *,
    event_id: str | None = None,
    event: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Entry]:
    """Return the latest *limit* events that fit all filters, newest first; *event* is a type or its last word."""
    query = select(*(table.c[name] for name in Entry.__slots__)).order_by(table.c.sequence.desc()).limit(limit)
    if event_id is not None:
        query = query.where(table.c.id == event_id)
    if event is not None:
        query = query.where(or_(table.c.event == event, table.c.event.endswith(f".{event}", autoescape=True)))
    if since is not None:
        # Event times are RFC 3339 in UTC with as many digits as they have: compared as text, to the second.
        query = query.where(table.c.time >= f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}")
    return [Entry(*row) for row in transaction.execute(query)]
