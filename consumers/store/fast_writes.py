"""The two writes of nearly every delivery, its begin and its end, sent directly to the database's driver.

SQLAlchemy's conversion of parameters would take as long as all other work for a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Dialect, bindparam, literal_column, or_, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting, moment_text, plain_text

from .attempts import DONE, WAIT, WRITTEN, Attempt, row_of
from .schema import deliveries as table


def begin(transaction: Connection, attempts: Sequence[Attempt]) -> bool:
    """Write that *attempts*, which have no rows yet, begin; return False if some had rows.

    If it returns False, the caller must roll the transaction back.
    """
    statement = _statement(transaction, "begin")
    return statement.execute(transaction, [_opened(each) for each in attempts]) == len(attempts)


def finish(transaction: Connection, attempts: Sequence[Attempt]) -> None:
    """Write how begun *attempts* ended.  An existing outcome stays, except that `done` replaces every other."""
    _statement(transaction, "finish").execute(transaction, [_closed(each) for each in attempts])


class _Statement:
    """A statement compiled once for the driver, so that each execution only passes values."""

    def __init__(self, dialect: Dialect, what: str) -> None:
        compiled = _STATEMENTS[what](dialect.name).compile(dialect=dialect)
        self._text, self._order = str(compiled), compiled.positiontup

    def execute(self, transaction: Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Execute it for all *rows*; return the number of rows written."""
        order = self._order
        wanted: Any = [tuple(map(row.__getitem__, order)) for row in rows] if order else list(rows)
        return transaction.exec_driver_sql(self._text, wanted).rowcount


def _begin(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    values = {name: _parameter(name) for name in _OPENED}
    return inserting(dialect, table).values(values).on_conflict_do_nothing()


def _finish(_dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    key = [table.c[name] == _parameter(name, f"its_{name}") for name in _KEY]
    free = or_(table.c.outcome.is_(None), table.c.outcome == literal_column(f"'{WAIT}'"))
    is_done = _parameter("outcome") == literal_column(f"'{DONE}'")
    values = {name: _parameter(name) for name in WRITTEN}
    return update(table).where(*key, or_(free, is_done)).values(values)


def _parameter(column: str, name: str = "") -> BindParameter[Any]:
    """Return a parameter with the type of *column*: PostgreSQL does not compare numbers with texts."""
    return bindparam(name or column, type_=table.c[column].type)


_STATEMENTS: Mapping[str, Callable[[str], Any]] = {"begin": _begin, "finish": _finish}
_KEY = ("event_id", "subscription", "replay", "attempt")
_OPENED = (*_KEY, "event", "topic", "node", "started", "digest", "owner", "lane")


def _statement(transaction: Connection, what: str) -> _Statement:
    known = _PREPARED.get((transaction.dialect.name, what))
    if known is None:
        known = _PREPARED[transaction.dialect.name, what] = _Statement(transaction.dialect, what)
    return known


_PREPARED: dict[tuple[str, str], _Statement] = {}


def _opened(attempt: Attempt) -> dict[str, object]:
    delivery = attempt.delivery
    event = delivery.event
    return {
        "event_id": event.id,
        "subscription": delivery.subscription,
        "replay": plain_text(delivery.replay),
        "attempt": delivery.attempt,
        "event": plain_text(event.type),
        "topic": plain_text(delivery.topic),
        "node": plain_text(event.node),
        "started": moment_text(attempt.started),
        "digest": attempt.digest,
        "owner": attempt.owner,
        "lane": plain_text(attempt.lane) if attempt.lane else attempt.lane,
    }


def _closed(attempt: Attempt) -> dict[str, object]:
    row = row_of(attempt)
    reason = row["reason"]
    ended = attempt.ended
    return {
        "its_event_id": row["event_id"],
        "its_subscription": row["subscription"],
        "its_replay": plain_text(attempt.delivery.replay),
        "its_attempt": row["attempt"],
        "started": moment_text(attempt.started),
        "ended": moment_text(ended) if ended else None,
        "outcome": row["outcome"],
        "delay": row["delay"],
        "reason": plain_text(reason) if isinstance(reason, str) else None,
        "result": row["result"],
        "digest": row["digest"],
        "owner": row["owner"],
    }
