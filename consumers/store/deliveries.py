"""The table of deliveries: which attempts have begun, and how they ended.

An outcome is `done`, `retry`, `dead` or `wait`; any other is the word of one that was skipped, such as `silenced`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, assert_never

from sqlalchemy import bindparam, exists, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from router.broker.topology import RUNGS

from .. import children
from ..deliveries import DeadLetter, Delivery, Done, Key, Outcome, Retry, Skipped, Waiting
from ..retries import rung
from .attempts import Row, find
from .schema import deliveries as table

__all__ = [
    "DONE",
    "WAIT",
    "WRITTEN",
    "Attempt",
    "Begun",
    "Known",
    "Row",
    "Unfinished",
    "claim",
    "find",
    "give_up",
    "inserts",
    "look_up",
    "record",
    "row_of",
    "running",
    "unfinished",
]

DONE, _RETRY, _DEAD, WAIT = "done", "retry", "dead", "wait"

_GONE = timedelta(days=1)
"""After how long what should have come again, or is open though its consumer is dead, holds up others no more."""

_SOONEST, _LATEST = timedelta(seconds=1), timedelta(minutes=1)
"""Between two looks at what nobody knows the end of."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt that has begun: *owner* is the consumer that began it, *outcome* None while it is open.

    *result* is what it came to so far: also of an open one, which a handler asked to be called for again.
    """

    owner: str
    outcome: Outcome | None
    result: Mapping[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt with its outcome, or None where a consumer is about to begin it."""

    delivery: Delivery
    owner: str
    digest: str
    started: datetime
    ended: datetime | None = None
    outcome: Outcome | None = None
    lane: str | None = None


Known = dict[Key, dict[int, Begun]]


def look_up(transaction: Connection, keys: Iterable[Key]) -> Known:
    """Return what has begun of the deliveries *keys*, by delivery and attempt, in one query."""
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
    table.c.event_id,
    table.c.subscription,
    table.c.replay,
    table.c.attempt,
    table.c.owner,
    table.c.outcome,
    table.c.delay,
    table.c.reason,
    table.c.result,
).where(
    table.c.event_id.in_(bindparam("ids", expanding=True)), table.c.subscription.in_(bindparam("names", expanding=True))
)


def claim(transaction: Connection, attempts: Iterable[tuple[Attempt, str]]) -> None:
    """Write that *attempts* begin, each with the owner that was seen before (empty: none).

    Where another consumer was quicker its row stays: look up again to see whose they are.
    """
    rows = [row_of(attempt) | {"seen": owner} for attempt, owner in attempts]
    if rows:
        statement = _insert(transaction)
        taken_over = statement.on_conflict_do_update(
            index_elements=table.primary_key.columns,
            set_={name: statement.excluded[name] for name in ("owner", "started", "digest", "outcome")},
            where=(table.c.outcome.is_(None) | (table.c.outcome == WAIT)) & (table.c.owner == bindparam("seen")),
        )
        transaction.execute(taken_over, rows)


def record(transaction: Connection, attempts: Iterable[Attempt]) -> None:
    """Write how *attempts* ended.  An outcome that is there stays, but done stands over all others."""
    rows = [row_of(attempt) for attempt in attempts]
    if rows:
        statement = _insert(transaction)
        ended = statement.on_conflict_do_update(
            index_elements=table.primary_key.columns,
            set_={name: statement.excluded[name] for name in WRITTEN},
            where=or_(table.c.outcome.is_(None), table.c.outcome == WAIT, statement.excluded.outcome == DONE),
        )
        transaction.execute(ended, rows)


def give_up(transaction: Connection, key: Key, attempt: int, reason: str, at: datetime) -> None:
    """Write that an attempt which has begun, or waits, ended as a dead letter without the consumer's doing."""
    own = (table.c[name] == value for name, value in (*key._asdict().items(), ("attempt", attempt)))
    is_open = or_(table.c.outcome.is_(None), table.c.outcome == WAIT)
    transaction.execute(update(table).where(*own, is_open).values(outcome=_DEAD, ended=at, reason=reason))


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that is being attempted by *owner*, or is to be attempted *again* at a moment."""

    event_id: str
    started: datetime
    owner: str
    again: datetime | None

    def is_gone(self, now: datetime) -> bool:
        """Say whether nothing more is to be expected of it: its message is lost, or the broker has given it up."""
        if (self.again or self.started) + _GONE > now:
            return False
        return self.again is not None or not children.is_alive(self.owner)

    def wait(self, now: datetime) -> timedelta:
        """Return how long to wait for it: until it comes again, and past that the longer, the longer it takes."""
        since = self.again or self.started
        return since - now if since > now else min(max((now - since) / 4, _SOONEST), _LATEST)


# Word for word the condition of the index, with its values in it: SQLite uses it for nothing else.
_IS_UNFINISHED = table.c.lane.is_not(None) & (
    table.c.outcome.is_(None) | table.c.outcome.in_([literal_column(f"'{each}'") for each in (_RETRY, WAIT)])
)


def unfinished(transaction: Connection, subscription: str, lanes: Collection[str]) -> dict[str, list[Unfinished]]:
    """Return what is not finished of *subscription*, by lane, the earliest event first."""
    later = table.alias()
    same = [later.c[name] == table.c[name] for name in ("event_id", "subscription", "replay")]
    query = (
        select(table.c.lane, *_UNFINISHED)
        .where(table.c.subscription == subscription, table.c.lane.in_([*lanes]))
        .where(_IS_UNFINISHED)
        .where(~exists().where(*same, later.c.attempt > table.c.attempt))
        .order_by(table.c.event_id)
    )
    found: dict[str, list[Unfinished]] = defaultdict(list)
    for row in transaction.execute(query):
        found[row.lane].append(_unfinished(row))
    return found


def running(transaction: Connection, subscription: str) -> dict[Key, Unfinished]:
    """Return the deliveries of *subscription* that have begun and not ended, be it that they are asked after again."""
    query = (
        select(table.c.subscription, table.c.replay, *_UNFINISHED)
        .where(table.c.subscription == subscription)
        .where(_IS_UNFINISHED)
        # What waits at a gate has no result; what a handler has begun, and wants to be called for again, has.
        .where(table.c.outcome.is_(None) | ((table.c.outcome == WAIT) & table.c.result.is_not(None)))
    )
    rows = transaction.execute(query)
    return {Key(row.event_id, row.subscription, row.replay): _unfinished(row) for row in rows}


_UNFINISHED = (table.c.event_id, table.c.started, table.c.owner, table.c.outcome, table.c.ended, table.c.delay)


def _unfinished(row: Any) -> Unfinished:  # noqa: ANN401 - a row of any query
    again = None
    if row.ended:
        delay = timedelta(seconds=row.delay or 0)
        # A retry waits on a rung of the ladder, and other deliveries hop from rung to rung.
        again = row.ended + (RUNGS[rung(delay)] if row.outcome == _RETRY else delay)
    return Unfinished(row.event_id, row.started, row.owner, again)


WRITTEN = ("started", "ended", "outcome", "delay", "reason", "result", "digest", "owner")


def _insert(transaction: Connection) -> Any:  # noqa: ANN401 - the dialects' inserts are alike, their types are not
    return inserts(transaction.dialect.name)


def inserts(dialect: str) -> Any:  # noqa: ANN401 - as above
    """Return an insert into the table in the words of *dialect*."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


def row_of(attempt: Attempt) -> dict[str, object]:
    """Return *attempt* as it is kept, by column."""
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
            row |= {"outcome": _RETRY, "delay": int(delay.total_seconds()), "reason": reason, "result": _json(result)}
        case DeadLetter(reason, result):
            row |= {"outcome": _DEAD, "reason": reason, "result": _json(result)}
        case Skipped(word, reason, result):
            row |= {"outcome": word, "reason": reason or None, "result": _json(result)}
        case Waiting(delay, reason, result):
            # Nobody's: whoever it comes to next may begin it.
            row |= {"outcome": WAIT, "delay": int(delay.total_seconds()), "reason": reason, "result": _json(result)}
            row |= {"owner": ""}
        case None:
            pass
        case _:
            assert_never(attempt.outcome)
    return row


def _json(result: Mapping[str, object]) -> str | None:
    if not result:
        return None
    try:
        return json.dumps(result, default=str)
    except Exception as error:  # noqa: BLE001 - what can't be written would be tried for ever
        return json.dumps({"unreadable": f"the handler's result is no JSON: {type(error).__name__}"})


def _outcome(outcome: str | None, delay: int | None, reason: str | None, facts: Mapping[str, object]) -> Outcome | None:
    if outcome is None:
        return None
    if outcome == DONE:
        return Done(facts, reason or "")
    if outcome == _RETRY:
        return Retry(timedelta(seconds=delay or 0), reason or "", facts)
    if outcome == WAIT:
        return Waiting(timedelta(seconds=delay or 0), reason or "", facts)
    return DeadLetter(reason or "", facts) if outcome == _DEAD else Skipped(outcome, reason or "", facts)
