"""The table of letters: what was given up, rejected or unrouted, until somebody replays or drops it, and after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

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


def find(  # noqa: PLR0913 - one argument a filter
    transaction: Connection,
    *,
    state: State | None = "kept",
    kind: Kind | None = None,
    subscription: str | None = None,
    event_id: str | None = None,
    event: str | None = None,
    reason: str | None = None,
    before: datetime | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Letter]:
    """Return the latest *limit* letters that fit all filters, newest first.

    *event* is an event type or its last word, *reason* a part of the reason; None lets all pass.
    """
    query = select(table).order_by(table.c.kept_at.desc(), table.c.id).limit(limit)
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
    return [_letter(row) for row in transaction.execute(query).mappings()]


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
