"""The table of letters: failed deliveries, rejected records and unroutable messages, and what was done with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from sqlalchemy import ColumnElement, RowMapping, Select, bindparam, func, insert, select, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ..policies.failure_fingerprints import fingerprint
from .database import batched, lock
from .schema import amendments, is_event
from .schema import letters as table

Kind = Literal["delivery", "record", "unrouted"]
State = Literal["kept", "replayed", "dropped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A letter without its body and headers, which may be large: for lists, counts and selections.

    `exchange` and `topic` are its destination; for a record, `topic` is the routing key that it claimed.  `replay` is
    the nonce of its replay.  `by` and `settled_at` say who replayed or dropped it, and when.  `publisher` is the user
    who published a record, `-` without a user; None for other letters, and for those that an earlier release kept.
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
    kept_at: datetime
    state: State = "kept"
    replay: str = ""
    by: str = ""
    settled_at: datetime | None = None
    publisher: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(Summary):
    """One complete message that could not be processed."""

    body: bytes
    headers: Mapping[str, object]


def identity(*facts: object, body: bytes) -> str:
    """Return the id of a letter: equal for copies of one message, different for different messages.

    It depends on the body, because a forged record may have the id of a genuine one.

    >>> identity("record", "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", body=b"{}")
    'a7c97925cfaa6d40'
    """
    text = json.dumps([*facts, hashlib.sha256(body).hexdigest()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep(transaction: Connection, letters: Iterable[Letter]) -> None:
    """Write *letters*; letters that already exist do not change.

    Exception: a record or unroutable message that was replayed or dropped, and returns, is kept again.  For example, a
    record that is replayed before the cause is fixed is rejected again under the same id, and must not get lost.
    (The id of a delivery's letter includes its replay.)
    """
    rows = [_row(letter) for letter in letters]
    if rows:
        statement = inserting(transaction.dialect.name, table)
        again = statement.on_conflict_do_update(
            index_elements=table.primary_key.columns,
            set_={name: statement.excluded[name] for name in _KEPT_AGAIN},
            where=(table.c.kind != "delivery") & (table.c.state != "kept"),
        )
        transaction.execute(again, rows)


_BRIEF = [table.c[each.name] for each in fields(Summary)]
_KEPT_AGAIN = ("reason", "headers", "kept_at", "state", "replay", "by", "settled_at", "publisher")


def _row(letter: Letter) -> dict[str, object]:
    row = {each.name: getattr(letter, each.name) for each in fields(Letter)}
    return row | {"headers": json.dumps(letter.headers, default=str)}


def _letter(row: Any) -> Letter:  # noqa: ANN401 - a row of any query
    return Letter(**{**row, "headers": json.loads(row["headers"])})


def get(transaction: Connection, letter_id: str) -> Letter | None:
    """Return the letter of this id, or None."""
    row = transaction.execute(select(table).where(table.c.id == letter_id)).mappings().one_or_none()
    return None if row is None else _letter(row)


def get_all(transaction: Connection, letter_ids: Collection[str]) -> dict[str, Letter]:
    """Return the existing letters of these ids, by id."""
    return {row["id"]: _letter(row) for row in _rows(transaction, select(table), table.c.id, letter_ids)}


def find(transaction: Connection, *, failure: str | None = None, limit: int = 100, **filters: Any) -> list[Letter]:  # noqa: ANN401 - each as `_conditions` has it
    """Return the latest *limit* letters that match all *filters* and the fingerprint *failure*, newest first.

    The filters are *state*, *kind*, *subscription*, *event_id*, *event* (a type or its last word), *reason* (a part of
    it), *before* and *since*; None matches all.  Without *state*, only kept letters match.
    """
    return [_letter(row) for row in _matching(transaction, [*table.c], failure, limit, filters)]


def summaries(
    transaction: Connection,
    *,
    failure: str | None = None,
    limit: int = 100,
    **filters: Any,  # noqa: ANN401 - idem
) -> list[Summary]:
    """Return what `find` returns, without reading bodies and headers."""
    return [Summary(**row) for row in _matching(transaction, _BRIEF, failure, limit, filters)]


def briefly(transaction: Connection, letter_ids: Collection[str]) -> dict[str, Summary]:
    """Return the existing letters of these ids, by id, without reading bodies and headers."""
    return {row["id"]: Summary(**row) for row in _rows(transaction, select(*_BRIEF), table.c.id, letter_ids)}


def bodies(transaction: Connection, letter_ids: Iterable[str]) -> Iterator[bytes]:
    """Yield the bodies of these letters, one after another."""
    for letter_id in letter_ids:
        yield from transaction.scalars(select(table.c.body).where(table.c.id == letter_id))


def count_kept(transaction: Connection) -> tuple[int, datetime | None]:
    """Return how many letters wait for a decision, and since when the oldest does; reads an index only."""
    query = select(func.count(), func.min(table.c.kept_at)).where(table.c.state == "kept")
    number, oldest = transaction.execute(query).one()
    return number, oldest


def newest_failures(transaction: Connection, limit: int) -> list[tuple[Kind, str]]:
    """Return kind and reason of the latest *limit* letters that wait for a decision, without reading bodies."""
    newest = table.c.kept_at.desc()
    query = select(table.c.kind, table.c.reason).where(table.c.state == "kept").order_by(newest).limit(limit)
    return [(kind, reason) for kind, reason in transaction.execute(query)]


def _rows(
    transaction: Connection, query: Select[Any], column: ColumnElement[str], ids: Collection[str]
) -> Iterator[RowMapping]:
    """Yield the rows of *query* whose *column* is one of *ids*."""
    for those in batched([*ids], _MANY):
        yield from transaction.execute(query.where(column.in_(those))).mappings()


def _matching(
    transaction: Connection, columns: Sequence[Any], failure: str | None, limit: int, filters: Mapping[str, Any]
) -> Iterator[Any]:
    query = select(*columns).where(*_conditions(**filters)).order_by(table.c.kept_at.desc(), table.c.id)
    if failure is None:
        yield from transaction.execute(query.limit(limit).execution_options(yield_per=_PAGE)).mappings()
        return
    # The fingerprint is not a column, so that improvements to it also apply to existing rows.
    with transaction.execute(query.execution_options(yield_per=_PAGE)) as result:
        yield from islice((row for row in result.mappings() if fingerprint(row["reason"]) == failure), limit)


def _conditions(
    *,
    state: State | None = "kept",
    event: str | None = None,
    reason: str | None = None,
    before: datetime | None = None,
    since: datetime | None = None,
    **same: str | None,
) -> list[ColumnElement[bool]]:
    found = [table.c[column] == value for column, value in (("state", state), *same.items()) if value is not None]
    if event is not None:
        found.append(is_event(table.c.event, event))
    if reason is not None:
        found.append(table.c.reason.icontains(reason, autoescape=True))
    if before is not None:
        found.append(table.c.kept_at < before)
    if since is not None:
        found.append(table.c.kept_at >= since)
    return found


_MANY = 10_000
"""The largest number of values in one statement; databases limit it."""

_PAGE = 100
"""The number of rows fetched at once: a letter may be large."""


@dataclass(frozen=True, slots=True)
class Amendment:
    """One edit of a letter's event; *body* is the edited event, which a replay publishes."""

    letter: str
    number: int
    by: str
    at: datetime
    changes: Sequence[Mapping[str, object]]
    body: bytes


def amend(
    transaction: Connection, letter_id: str, *, by: str, at: datetime, changes: Sequence[object], body: bytes
) -> None:
    """Write an edit of a letter's event; the letter itself does not change."""
    lock(transaction)
    number = len(amended(transaction, [letter_id]).get(letter_id, ())) + 1
    row = {"letter": letter_id, "number": number, "by": by, "at": at, "changes": json.dumps(changes), "body": body}
    transaction.execute(insert(amendments).values(row))


def amended(transaction: Connection, letter_ids: Collection[str]) -> dict[str, list[Amendment]]:
    """Return the edits of each of these letters, oldest first."""
    found: dict[str, list[Amendment]] = {}
    for row in _rows(transaction, select(amendments).order_by(amendments.c.number), amendments.c.letter, letter_ids):
        found.setdefault(row["letter"], []).append(Amendment(**{**row, "changes": json.loads(row["changes"])}))
    return found


def give_nonces(transaction: Connection, wanted: Mapping[str, str]) -> dict[str, str]:
    """Store the nonces of the replays of letters, *wanted* by letter id; an earlier, unfinished replay keeps its own.

    Return the stored nonces of the letters that are still kept, by id.
    """
    rows = [{"its_id": letter_id, "its_nonce": nonce} for letter_id, nonce in wanted.items()]
    transaction.execute(_GIVE, rows)
    query = select(table.c.id, table.c.replay).where(table.c.id.in_([*wanted]), table.c.state == "kept")
    return {row.id: row.replay for row in transaction.execute(query)}


_GIVE = (
    update(table)
    .where(table.c.id == bindparam("its_id"), table.c.replay == "", table.c.state == "kept")
    .values(replay=bindparam("its_nonce"))
)


def settle(transaction: Connection, letter_id: str, state: State, by: str, at: datetime) -> bool:
    """Write that a kept letter was replayed or dropped; return False if that had already happened."""
    return settle_all(transaction, [letter_id], state, by, at) == 1


def settle_all(transaction: Connection, letter_ids: Collection[str], state: State, by: str, at: datetime) -> int:
    """Write that these letters, as far as they are kept, were replayed or dropped; return how many were kept."""
    where = table.c.id.in_([*letter_ids]) & (table.c.state == "kept")
    return transaction.execute(update(table).where(where).values(state=state, by=by, settled_at=at)).rowcount
