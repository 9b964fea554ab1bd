"""The table of deliveries: which attempts have begun, and how they ended.

An outcome is `done`, `retry`, `dead` or `wait`, or the word for a skipped delivery, such as `silenced`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, assert_never

from sqlalchemy import bindparam, case, exists, literal, literal_column, or_, select, update
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ..deliveries import DeadLetter, Delivery, Done, Key, Outcome, Retry, Skipped, Waiting
from ..processes import cleanup
from .queries import CANCELLED, Row, again, find
from .schema import deliveries as table

__all__ = ["Row", "find"]

DONE, _RETRY, DEAD, WAIT = "done", "retry", "dead", "wait"

_GONE = timedelta(days=1)
"""The time after which an overdue delivery, or an open one whose consumer is dead, no longer blocks its lane."""

_LONGEST = 2**31 - 1
"""The longest recorded delay, in seconds: PostgreSQL refuses larger integers."""

_SOONEST, _LATEST = timedelta(seconds=1), timedelta(minutes=1)
"""The shortest and the longest wait for a delivery whose end is not known."""


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
    if rows := [row_of(attempt) | {"seen": owner} for attempt, owner in attempts]:
        transaction.execute(_claiming(transaction.dialect.name), rows)


@cache
def _claiming(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what `claim` executes; it takes longer to build than to execute."""
    is_free = (table.c.outcome.is_(None) | (table.c.outcome == WAIT)) & (table.c.owner == bindparam("seen"))
    return _upsert(inserting(dialect, table), ("owner", "digest", "outcome"), is_free)


def record(transaction: Connection, attempts: Iterable[Attempt]) -> None:
    """Write how *attempts* ended.  An existing outcome stays, except that `done` replaces every other."""
    if rows := [row_of(attempt) for attempt in attempts]:
        transaction.execute(_recording(transaction.dialect.name), rows)


@cache
def _recording(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what `record` executes."""
    statement = inserting(dialect, table)
    is_open = or_(table.c.outcome.is_(None), table.c.outcome == WAIT, statement.excluded.outcome == DONE)
    return _upsert(statement, WRITTEN, is_open)


def _upsert(statement: Any, names: Iterable[str], where: Any) -> Any:  # noqa: ANN401 - as `inserting`
    """Return *statement* as an upsert that sets *names* and `started` of rows *where* that is true.

    A delivery that waits in a lane keeps the moment when it first came: its place in the order.  When the handler has
    been called, the row gets the moment of the call.
    """
    waits = table.c.lane.is_not(None) & or_(
        table.c.outcome == WAIT, table.c.outcome.is_(None) & (statement.excluded.outcome == WAIT)
    )
    changed = {name: statement.excluded[name] for name in names}
    changed["started"] = case((waits, table.c.started), else_=statement.excluded.started)
    return statement.on_conflict_do_update(index_elements=table.primary_key.columns, set_=changed, where=where)


def give_up(transaction: Connection, key: Key, attempt: int, reason: str, at: datetime) -> None:
    """Write that the broker, not a consumer, ended an open or waiting attempt as a dead letter."""
    own = (table.c[name] == value for name, value in (*key._asdict().items(), ("attempt", attempt)))
    is_open = or_(table.c.outcome.is_(None), table.c.outcome == WAIT)
    transaction.execute(update(table).where(*own, is_open).values(outcome=DEAD, ended=at, reason=reason))


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


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that *owner* is attempting, or whose next attempt is due at the time *again*.

    *started* is when its latest attempt began, or when it came, if its handler was never called (*has_begun*).
    """

    event_id: str
    started: datetime
    owner: str
    again: datetime | None
    replay: str = ""
    has_begun: bool = True

    def precedes(self, other: Unfinished) -> bool:
        """Say whether it is before *other* in their lane: its handler was called, or it came to the queue first."""
        if self.has_begun != other.has_begun:
            return self.has_begun
        return (self.started, self.event_id, self.replay) < (other.started, other.event_id, other.replay)

    def is_gone(self, now: datetime) -> bool:
        """Return whether the delivery will not return: its message is lost, or the broker parked it."""
        if (self.again or self.started) + _GONE > now:
            return False
        return self.again is not None or not cleanup.is_alive(self.owner)

    def wait(self, now: datetime) -> timedelta:
        """Return how long to wait for it: until it is due, and for an overdue one a time that grows with the delay."""
        since = self.again or self.started
        return since - now if since > now else min(max((now - since) / 4, _SOONEST), _LATEST)


# This must equal the condition of the index `deliveries_unfinished` in the revisions, literal values included:
# otherwise SQLite does not use the index.
_IS_UNFINISHED = table.c.lane.is_not(None) & (
    table.c.outcome.is_(None) | table.c.outcome.in_([literal_column(f"'{each}'") for each in (_RETRY, WAIT)])
)


def unfinished(transaction: Connection, subscription: str, lanes: Collection[str]) -> dict[str, list[Unfinished]]:
    """Return the unfinished deliveries of *subscription* in *lanes*, by lane, in their order."""
    later = table.alias()
    same = [later.c[name] == table.c[name] for name in ("event_id", "subscription", "replay")]
    query = (
        select(table.c.lane, *_UNFINISHED)
        .where(table.c.subscription == subscription, table.c.lane.in_([*lanes]))
        .where(_IS_UNFINISHED)
        .where(~exists().where(*same, later.c.attempt > table.c.attempt))
        .order_by(table.c.started, table.c.event_id)
    )
    found: dict[str, list[Unfinished]] = defaultdict(list)
    for row in transaction.execute(query):
        found[row.lane].append(_unfinished(row))
    return found


_UNFINISHED = tuple(
    table.c[each]
    for each in ("event_id", "replay", "attempt", "started", "owner", "outcome", "ended", "delay", "result")
)


def _unfinished(row: Any) -> Unfinished:  # noqa: ANN401 - a row of any query
    after = again(row.outcome, row.ended, timedelta(seconds=row.delay or 0)) if row.ended else None
    has_begun = row.attempt > 1 or row.outcome != WAIT or bool(row.result)
    return Unfinished(row.event_id, row.started, row.owner, after, row.replay, has_begun)


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
            row |= {"outcome": _RETRY, "delay": _seconds(delay), "reason": reason, "result": _json(result)}
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
    if outcome == _RETRY:
        return Retry(timedelta(seconds=delay or 0), reason or "", facts)
    if outcome == WAIT:
        return Waiting(timedelta(seconds=delay or 0), reason or "", facts)
    return DeadLetter(reason or "", facts) if outcome == DEAD else Skipped(outcome, reason or "", facts)
