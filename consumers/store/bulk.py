"""The two writes of nearly every delivery, that it begins and how it ended, as the database's driver takes them.

What SQLAlchemy would do for each row, to make parameters of values, takes as long as all else that is done for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Dialect, String, bindparam, literal_column, or_, update
from sqlalchemy.engine import Connection

from .deliveries import DONE, WAIT, WRITTEN, Attempt, inserts, row_of
from .schema import deliveries as table
from .schema import moment_text, plain_text


def begin(transaction: Connection, attempts: Sequence[Attempt]) -> bool:
    """Write that *attempts*, of which nobody knows any yet, begin; False where some were known after all.

    Then nothing of it may be kept: the caller has to give the transaction up.
    """
    statement = _statement(transaction, "begin")
    return statement.execute(transaction, [_opened(each) for each in attempts]) == len(attempts)


def finish(transaction: Connection, attempts: Sequence[Attempt]) -> None:
    """Write how *attempts*, which were begun, ended.  An outcome that is there stays, but done stands over all."""
    _statement(transaction, "finish").execute(transaction, [_closed(each) for each in attempts])


class _Statement:
    """A statement as the driver takes it: what is written for each delivery is spared all else."""

    def __init__(self, dialect: Dialect, what: str) -> None:
        compiled = _STATEMENTS[what](dialect.name).compile(dialect=dialect)
        self._text, self._order = str(compiled), compiled.positiontup

    def execute(self, transaction: Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Execute it for all *rows*; return how many were written."""
        order = self._order
        wanted: Any = [tuple(map(row.__getitem__, order)) for row in rows] if order else list(rows)
        return transaction.exec_driver_sql(self._text, wanted).rowcount


def _begin(dialect: str) -> Any:  # noqa: ANN401 - as `_insert`
    values = {name: bindparam(name, type_=String) for name in _OPENED}
    return inserts(dialect).values(values).on_conflict_do_nothing()


def _finish(_dialect: str) -> Any:  # noqa: ANN401 - as `_insert`
    key = [table.c[name] == bindparam(f"its_{name}", type_=String) for name in _KEY]
    free = or_(table.c.outcome.is_(None), table.c.outcome == literal_column(f"'{WAIT}'"))
    is_done = bindparam("outcome", type_=String) == literal_column(f"'{DONE}'")
    values = {name: bindparam(name, type_=String) for name in WRITTEN}
    return update(table).where(*key, or_(free, is_done)).values(values)


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
        "replay": delivery.replay,
        "attempt": delivery.attempt,
        "event": plain_text(event.type),
        "topic": plain_text(delivery.topic),
        "node": plain_text(event.node),
        "started": moment_text(attempt.started),
        "digest": attempt.digest,
        "owner": attempt.owner,
        "lane": attempt.lane,
    }


def _closed(attempt: Attempt) -> dict[str, object]:
    row = row_of(attempt)
    reason = row["reason"]
    ended = attempt.ended
    return {
        **{f"its_{name}": row[name] for name in _KEY},
        "started": moment_text(attempt.started),
        "ended": moment_text(ended) if ended else None,
        "outcome": row["outcome"],
        "delay": row["delay"],
        "reason": plain_text(reason) if isinstance(reason, str) else None,
        "result": row["result"],
        "digest": row["digest"],
        "owner": row["owner"],
    }
