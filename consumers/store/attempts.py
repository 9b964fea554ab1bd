"""The table of deliveries: which attempts have begun, and how they ended.

An outcome is `done`, `retry`, `dead` or `wait`, or the word for a skipped delivery, such as `silenced`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, assert_never

from sqlalchemy import ColumnElement, bindparam, case, literal, select, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ..deliveries import DeadLetter, Delivery, Done, Key, Outcome, Retry, Skipped, Waiting
from .queries import CANCELLED, Row, find
from .schema import deliveries as table

__all__ = ["Row", "find"]

ALWAYS_KEPT = timedelta(days=7)
"""What is younger is never deleted, also for want of space: it shows which deliveries are done."""

DONE, RETRY, DEAD, WAIT = "done", "retry", "dead", "wait"

_OPEN = table.c.outcome.is_(None) | (table.c.outcome == WAIT)

_LONGEST = 2**31 - 1
"""The longest recorded delay, in seconds: PostgreSQL refuses larger integers."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt that has begun: *owner* is the consumer that began it, *outcome* is None while it is open.

    *result* is the result so far; an open attempt has one if its handler asked to be called again.
    """

    owner: str
    outcome: Outcome | None
    result: Mapping[str, object] = field(default_factory=dict, compare=False)

    @property
    def cancelled(self) -> DeadLetter | None:
        """The outcome that it gets when its message comes back, if somebody cancelled it while it waited."""
        is_cancelled = self.owner == CANCELLED and isinstance(self.outcome, Waiting)
        return DeadLetter(self.outcome.reason, self.result) if is_cancelled and self.outcome else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt; its outcome is None if a consumer is about to begin it.

    *lane* is the key by which an order is kept.
    """

    delivery: Delivery
    owner: str
    digest: str
    started: datetime
    ended: datetime | None = None
    outcome: Outcome | None = None
    lane: str | None = None


Known = dict[Key, dict[int, Begun]]


def look_up(transaction: Connection, keys: Iterable[Key]) -> Known:
    """Return the begun attempts of the deliveries *keys*, by delivery and attempt, with one query."""
    wanted = set(keys)
    rows = transaction.execute(
        _LOOK_UP, {"ids": [*{key.event_id for key in wanted}], "names": [*{key.subscription for key in wanted}]}
    )
    known: Known = defaultdict(dict)
    for event_id, subscription, replay, attempt, owner, outcome, delay, reason, result in rows:
        facts = json.loads(result) if result else {}
        key = Key(event_id, subscription, replay)
        known[key][attempt] = Begun(owner, _outcome(outcome, delay, reason, facts), facts)
    return known


_LOOK_UP = select(
    *(table.c[each] for each in (*Key._fields, "attempt", "owner", "outcome", "delay", "reason", "result"))
).where(
    table.c.event_id.in_(bindparam("ids", expanding=True)), table.c.subscription.in_(bindparam("names", expanding=True))
)


def claim(transaction: Connection, attempts: Iterable[tuple[Attempt, str]]) -> None:
    """Write that *attempts* begin, each with the owner that `look_up` found (empty: none).

    If another consumer was faster, its row stays: look up again to see the owners.
    """
    rows = [row_of(attempt) | {"seen": owner} for attempt, owner in attempts]
    if rows:
        transaction.execute(_claiming(transaction.dialect.name), rows)


@cache
def _claiming(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what `claim` executes; it takes longer to build than to execute."""
    where = _OPEN & (table.c.owner == bindparam("seen"))
    return _upsert(inserting(dialect, table), ("owner", "digest", "outcome"), where)


def record(transaction: Connection, attempts: Iterable[Attempt]) -> None:
    """Write how *attempts* ended.  An existing outcome stays, except that `done` replaces every other."""
    rows = [row_of(attempt) for attempt in attempts]
    if rows:
        transaction.execute(_recording(transaction.dialect.name), rows)


@cache
def _recording(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what `record` executes."""
    statement = inserting(dialect, table)
    return _upsert(statement, WRITTEN, _OPEN | (statement.excluded.outcome == DONE))


def _upsert(statement: Any, names: Iterable[str], where: ColumnElement[bool]) -> Any:  # noqa: ANN401 - as `inserting`
    """Return *statement* as an upsert of the columns *names*, and of `lane` and `started`.

    A delivery that waits in a lane keeps the moment when it first came: that is its place in the order.  When the
    handler has been called, the row gets the moment of the call.  One that had left its lane is in it again.
    """
    new = statement.excluded
    has_waited = (table.c.outcome == WAIT) | (table.c.outcome.is_(None) & (new.outcome == WAIT))
    waits = new.lane.is_not(None) & has_waited
    changed = {name: new[name] for name in (*names, "lane")}
    changed["started"] = case((waits, table.c.started), else_=new.started)
    return statement.on_conflict_do_update(index_elements=table.primary_key.columns, set_=changed, where=where)


def give_up(transaction: Connection, key: Key, attempt: int, reason: str, at: datetime) -> None:
    """Write that the broker, not a consumer, ended an open or waiting attempt as a dead letter."""
    own = (table.c[name] == value for name, value in (*key._asdict().items(), ("attempt", attempt)))
    transaction.execute(update(table).where(*own, _OPEN).values(outcome=DEAD, ended=at, reason=reason))


def cancel(transaction: Connection, row: Row, reason: str, result: Mapping[str, object], now: datetime) -> bool:
    """Write that nobody may begin the next attempt of the waiting delivery of *row*; return False if somebody has."""
    seen = [table.c[name] == getattr(row, name) for name in (*Key._fields, "attempt", "ended", "outcome")]
    written: dict[str, object] = {"owner": CANCELLED, "reason": reason, "result": _json(result)}
    if row.outcome == WAIT:
        return transaction.execute(update(table).where(*seen, table.c.owner == "").values(written)).rowcount == 1
    delay = _seconds(max(timedelta(), (row.again or now) - now))
    written |= {"attempt": row.attempt + 1, "outcome": WAIT, "ended": now, "delay": delay}
    values = [literal(written[each.name], each.type) if each.name in written else each for each in table.c]
    new = inserting(transaction.dialect.name, table).from_select([*table.c], select(*values).where(*seen))
    return (
        transaction.execute(new.on_conflict_do_nothing(), execution_options={"preserve_rowcount": True}).rowcount == 1
    )


WRITTEN = ("started", "ended", "outcome", "delay", "reason", "result", "digest", "owner")


def row_of(attempt: Attempt) -> dict[str, object]:
    """Return the row for *attempt*, by column."""
    delivery = attempt.delivery
    row = {
        "event_id": delivery.event.id,
        "subscription": delivery.subscription,
        "replay": delivery.replay,
        "attempt": delivery.attempt,
        "event": delivery.event.type,
        "topic": delivery.topic,
        "node": delivery.event.node,
        "started": attempt.started,
        "ended": attempt.ended,
        "outcome": None,
        "delay": None,
        "reason": None,
        "result": None,
        "digest": attempt.digest,
        "owner": attempt.owner,
        "lane": attempt.lane,
    }
    match attempt.outcome:
        case Done(result, reason):
            row |= {"outcome": DONE, "reason": reason or None, "result": _json(result)}
        case Retry(delay, reason, result):
            row |= {"outcome": RETRY, "delay": _seconds(delay), "reason": reason, "result": _json(result)}
        case DeadLetter(reason, result):
            row |= {"outcome": DEAD, "reason": reason, "result": _json(result)}
        case Skipped(word, reason, result):
            row |= {"outcome": word, "reason": reason or None, "result": _json(result)}
        case Waiting(delay, reason, result):
            # It has no owner: the next consumer that receives it may begin it.
            row |= {"outcome": WAIT, "delay": _seconds(delay), "reason": reason, "result": _json(result)}
            row |= {"owner": ""}
        case None:
            pass
        case _:
            assert_never(attempt.outcome)
    return row


def _seconds(delay: timedelta) -> int:
    # A handler may ask for more than the column can store; no wait takes that long.
    return min(int(delay.total_seconds()), _LONGEST)


def _json(result: Mapping[str, object]) -> str | None:
    if not result:
        return None
    try:
        return json.dumps(result, default=str)
    except Exception as error:  # noqa: BLE001 - an error here would repeat the delivery forever
        return json.dumps({"unreadable": f"cannot convert the handler's result to JSON: {type(error).__name__}"})


def _outcome(outcome: str | None, delay: int | None, reason: str | None, facts: Mapping[str, object]) -> Outcome | None:
    if outcome is None:
        return None
    if outcome == DONE:
        return Done(facts, reason or "")
    if outcome == RETRY:
        return Retry(timedelta(seconds=delay or 0), reason or "", facts)
    if outcome == WAIT:
        return Waiting(timedelta(seconds=delay or 0), reason or "", facts)
    return DeadLetter(reason or "", facts) if outcome == DEAD else Skipped(outcome, reason or "", facts)
