"""The table of letters: what was given up, rejected or unrouted, until somebody replays or drops it, and after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from sqlalchemy import insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from ..fingerprints import fingerprint
from .schema import amendments
from .schema import letters as table

Kind = Literal["delivery", "record", "unrouted"]
State = Literal["kept", "replayed", "dropped"]


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that found no end, whole.

    `exchange` and `topic` are where it was going: for a record, `topic` is the key that it claimed.  `replay` is the
    nonce of its replay, `by` and `settled_at` who replayed or dropped it, and when.
    """

    id: str
    kind: Kind
    event_id: str
    event: str
    subscription: str
    attempt: int
    exchange: str
    topic: str
    reason: str
    body: bytes
    headers: Mapping[str, object]
    kept_at: datetime
    state: State = "kept"
    replay: str = ""
    by: str = ""
    settled_at: datetime | None = None


def identity(*facts: object, body: bytes) -> str:
    """Return the id of a letter: the same for each copy of one message, another for any other.

    The body counts, since a forged record may bear the id of a true one.

    >>> identity("record", "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", body=b"{}")
    'a7c97925cfaa6d40'
    """
    text = json.dumps([*facts, hashlib.sha256(body).hexdigest()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep(transaction: Connection, letters: Iterable[Letter]) -> None:
    """Write *letters*; one that is there stays as it is.

    But one that was settled and comes again is kept again: a record that was replayed before its mend is rejected anew
    under the same identity, and must not vanish behind its first letter.  (A delivery has its replay in its identity.)
    """
    rows = [_row(letter) for letter in letters]
    if rows:
        dialect: Any = sqlite if transaction.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(table)
        again = statement.on_conflict_do_update(
            index_elements=table.primary_key.columns,
            set_={name: statement.excluded[name] for name in _KEPT_AGAIN},
            where=(table.c.kind != "delivery") & (table.c.state != "kept"),
        )
        transaction.execute(again, rows)


_KEPT_AGAIN = ("reason", "headers", "kept_at", "state", "replay", "by", "settled_at")


def _row(letter: Letter) -> dict[str, object]:
    row = {name: getattr(letter, name) for name in Letter.__slots__}
    return row | {"headers": json.dumps(letter.headers, default=str)}


def _letter(row: Any) -> Letter:  # noqa: ANN401 - a row of any query
    return Letter(**{**row, "headers": json.loads(row["headers"])})


def get(transaction: Connection, letter_id: str) -> Letter | None:
    """Return the letter of this id, or None."""
    row = transaction.execute(select(table).where(table.c.id == letter_id)).mappings().one_or_none()
    return None if row is None else _letter(row)


def get_all(transaction: Connection, letter_ids: Collection[str]) -> dict[str, Letter]:
    """Return the letters of these ids, as far as they are there, by id."""
    ids = [*letter_ids]
    found: dict[str, Letter] = {}
    for at in range(0, len(ids), _MANY):
        query = select(table).where(table.c.id.in_(ids[at : at + _MANY]))
        found |= {row["id"]: _letter(row) for row in transaction.execute(query).mappings()}
    return found


def find(  # noqa: PLR0913 - one argument a filter
    transaction: Connection,
    *,
    state: State | None = "kept",
    kind: Kind | None = None,
    subscription: str | None = None,
    event_id: str | None = None,
    event: str | None = None,
    reason: str | None = None,
    failure: str | None = None,
    before: datetime | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Letter]:
    """Return the latest *limit* letters that fit all filters, newest first.

    *event* is an event type or its last word, *reason* a part of the reason, *failure* its fingerprint; None lets all
    pass.
    """
    query = select(table).order_by(table.c.kept_at.desc(), table.c.id)
    same = {"state": state, "kind": kind, "subscription": subscription, "event_id": event_id}
    for column, value in same.items():
        if value is not None:
            query = query.where(table.c[column] == value)
    if event is not None:
        query = query.where(or_(table.c.event == event, table.c.event.endswith(f".{event}", autoescape=True)))
    if reason is not None:
        query = query.where(table.c.reason.contains(reason, autoescape=True))
    if before is not None:
        query = query.where(table.c.kept_at < before)
    if since is not None:
        query = query.where(table.c.kept_at >= since)
    if failure is None:
        return [_letter(row) for row in transaction.execute(query.limit(limit)).mappings()]
    # The fingerprint is in no column: so it can be made better, and then holds for what is there as well.
    rows = transaction.execute(query.execution_options(yield_per=_PAGE)).mappings()
    return [_letter(row) for row in islice((row for row in rows if fingerprint(row["reason"]) == failure), limit)]


_MANY = 10_000
"""Values in a statement: databases bound them."""

_PAGE = 1000
"""Rows that are looked at in one go, where they are not chosen by the database."""


@dataclass(frozen=True, slots=True)
class Amendment:
    """What somebody changed of a letter's event: *body* is the event as it is to be replayed."""

    letter: str
    number: int
    by: str
    at: datetime
    changes: Sequence[Mapping[str, object]]
    body: bytes


def amend(
    transaction: Connection, letter_id: str, *, by: str, at: datetime, changes: Sequence[object], body: bytes
) -> None:
    """Write that the event of a letter was changed; the letter itself stays as it was kept."""
    number = len(amended(transaction, [letter_id]).get(letter_id, ())) + 1
    row = {"letter": letter_id, "number": number, "by": by, "at": at, "changes": json.dumps(changes), "body": body}
    transaction.execute(insert(amendments).values(row))


def amended(transaction: Connection, letter_ids: Collection[str]) -> dict[str, list[Amendment]]:
    """Return what was changed of each of these letters, the last change last."""
    found: dict[str, list[Amendment]] = {}
    ids = [*letter_ids]
    for at in range(0, len(ids), _MANY):
        query = select(amendments).where(amendments.c.letter.in_(ids[at : at + _MANY])).order_by(amendments.c.number)
        for row in transaction.execute(query).mappings():
            found.setdefault(row["letter"], []).append(Amendment(**{**row, "changes": json.loads(row["changes"])}))
    return found


def give_nonce(transaction: Connection, letter_id: str, nonce: str) -> str:
    """Return the nonce of the letter's replay: *nonce*, or the one that an unfinished replay has given it before."""
    where = (table.c.id == letter_id) & (table.c.replay == "")
    transaction.execute(update(table).where(where).values(replay=nonce))
    found: str = transaction.scalars(select(table.c.replay).where(table.c.id == letter_id)).one()
    return found


def settle(transaction: Connection, letter_id: str, state: State, by: str, at: datetime) -> bool:
    """Write that a kept letter was replayed or dropped; False where it was not kept any more."""
    where = (table.c.id == letter_id) & (table.c.state == "kept")
    return transaction.execute(update(table).where(where).values(state=state, by=by, settled_at=at)).rowcount == 1
