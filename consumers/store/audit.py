"""The audit of events: each event once, in the order of writing, in a hash chain that reveals changes.

`chain = sha256(previous chain || body)`.  Whoever can write the table can also rewrite it from some row on, or remove
rows from its end.  To detect that, store the last chain (see `head`) elsewhere.

Retention removes the oldest rows, a segment at a time.  A row of `audit_cuts` keeps the number and the chain of the
last removed row, from which the chain goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, bindparam, delete, func, insert, select
from sqlalchemy.engine import Connection

from router.database.column_types import plain_text

from ..deliveries import Delivery
from .database import lock
from .schema import audit_cuts as cuts
from .schema import events as table
from .schema import is_event

START = b""
"""The chain before the first event."""

SEGMENT = 200
"""The number of events that retention removes at once."""

_SAMPLE = 100
"""The number of rows, at equal distances, whose bodies say about how large the audit is."""

_AROUND_BODY = 300
"""Octets of a row and of its place in the indexes, without its body."""


class Head(NamedTuple):
    """The number of the last event, and the chain up to it."""

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
    """The first changed row, and what is wrong with it."""

    sequence: int
    id: str
    reason: str


def append(transaction: Connection, deliveries: Iterable[Delivery]) -> None:
    """Write the events of *deliveries*; events that already exist do not change.

    Only one process writes at a time, so that there is a single chain.
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


def start(transaction: Connection) -> Head:
    """Return the number and the chain of the last row that retention removed; zero and START if there is none."""
    row = transaction.execute(_CUT).one_or_none()
    return Head(row.sequence, row.chain) if row else Head(0, START)


def head(transaction: Connection) -> Head:
    """Return the current end of the chain."""
    row = transaction.execute(_HEAD).one_or_none()
    return Head(row.sequence, row.chain) if row else start(transaction)


_CUT = select(cuts.c.sequence, cuts.c.chain).order_by(cuts.c.sequence.desc()).limit(1)


def cut(transaction: Connection, *, before: datetime, now: datetime, rows: int = SEGMENT) -> Head | None:
    """Remove the oldest segment of *rows* events if all of them are older than *before*; return its end, or None.

    An event that claims a time after *now* counts as old: a wrong clock must not keep the audit for ever.
    """
    lock(transaction)
    end = start(transaction).sequence + rows
    last = transaction.execute(select(table.c.sequence, table.c.chain).where(table.c.sequence == end)).one_or_none()
    if last is None:
        return None
    young = table.c.time.between(_second(before), _second(now))
    # In this order, or PostgreSQL may read the whole table for one that is not there.
    first_young = select(table.c.sequence).where(table.c.sequence <= end, young).order_by(table.c.sequence).limit(1)
    if transaction.execute(first_young).first():
        return None
    transaction.execute(delete(table).where(table.c.sequence <= end))
    transaction.execute(delete(cuts))
    transaction.execute(insert(cuts).values(sequence=last.sequence, chain=last.chain, at=now))
    return Head(last.sequence, last.chain)


def octets(transaction: Connection) -> int:
    """Return about how many octets the audit takes.  It reads few rows, however many there are."""
    first, last = start(transaction).sequence + 1, head(transaction).sequence
    rows = last - first + 1
    if rows <= 0:
        return 0
    chosen = range(first, last + 1, max(1, rows // _SAMPLE))
    body = transaction.scalar(select(func.avg(func.length(table.c.body))).where(table.c.sequence.in_(chosen)))
    return rows * (int(body or 0) + _AROUND_BODY)


def verify(transaction: Connection) -> Break | None:
    """Read the audit from its beginning; return the first changed row, or None if all rows are unchanged."""
    query = _rows().order_by(table.c.sequence)
    previous = start(transaction)
    with transaction.execute(query) as rows:
        for row in rows:
            if found := _break(row, previous):
                return found
            previous = Head(row.sequence, row.chain)
    return None


def verify_newest(transaction: Connection, *, rows: int = 2000, octets: int = 16 * 2**20) -> tuple[Break | None, int]:
    """Check the newest events, until *rows* events or *octets* of bodies are read, but at least one event.

    Return the first changed row, or None if these rows are unchanged; and the number of the first checked row.
    """
    found: Break | None = None
    newer: Row[Any] | None = None
    read = 0
    with transaction.execute(_rows().order_by(table.c.sequence.desc()).limit(rows + 1)) as result:
        for count, row in enumerate(result):
            if newer is not None:
                found = _break(newer, Head(row.sequence, row.chain)) or found
                if count >= rows or read >= octets:
                    return found, newer.sequence
            newer = row
            read += len(row.body)
    first = start(transaction)
    if newer is None:
        return None, first.sequence + 1
    return _break(newer, first) or found, newer.sequence


def _rows() -> Select[Any]:
    # Few at a time: an event may have megabytes.
    return select(table).execution_options(yield_per=20)


def _entries() -> Select[Any]:
    return select(*(table.c[name] for name in Entry.__slots__)).order_by(table.c.sequence.desc())


def _break(row: Row[Any], previous: Head) -> Break | None:
    """Return what is wrong with *row*, which follows *previous*."""
    if row.sequence != previous.sequence + 1:
        return Break(row.sequence, row.id, f"row {previous.sequence + 1} is missing")
    if row.chain != hashlib.sha256(previous.chain + row.body).digest():
        return Break(row.sequence, row.id, "its chain does not match the previous chain and its body")
    attributes = json.loads(row.body)
    for column in ("id", "time"):
        if plain_text(str(attributes.get(column))) != row._mapping[column]:  # noqa: SLF001 - SQLAlchemy's own way
            return Break(row.sequence, row.id, f"its {column} differs from the one in its body")
    return None


def _second(moment: datetime) -> str:
    """Return *moment* as text to compare with event times: RFC 3339 in UTC with any number of digits, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def find(
    transaction: Connection,
    *,
    event_id: str | None = None,
    event: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Entry]:
    """Return the latest *limit* events that match all filters, newest first; *event* is a type or its last word."""
    query = _entries().limit(limit)
    if event_id is not None:
        query = query.where(table.c.id == event_id)
    if event is not None:
        query = query.where(is_event(table.c.event, event))
    if since is not None:
        query = query.where(table.c.time >= _second(since))
    return [Entry(*row) for row in transaction.execute(query)]


def newest(transaction: Connection, since: datetime, *, rows: int) -> Iterator[Entry]:
    """Yield the events whose time is not before *since*, of the newest *rows* ones, newest first."""
    last = head(transaction).sequence
    query = _entries().where(table.c.sequence > last - rows, table.c.time >= _second(since))
    # Few at a time: an event may have megabytes.
    with transaction.execute(query.execution_options(yield_per=20)) as result:
        for row in result:
            yield Entry(*row)


def has_older(transaction: Connection, since: datetime, *, newest: int) -> bool:
    """Return whether the event just before the *newest* ones is not before *since*."""
    last = head(transaction).sequence
    query = select(table.c.sequence).where(table.c.sequence == last - newest, table.c.time >= _second(since))
    return transaction.execute(query).first() is not None
