"""The table of deliveries: which attempts have begun, and how they ended.

An outcome is `done`, `retry`, `dead` or `wait`; any other is the word of one that was skipped, such as `silenced`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from sqlalchemy import bindparam, exists, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from ..deliveries import DeadLetter, Delivery, Done, Key, Outcome, Retry, Skipped, Waiting
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
    "inserts",
    "look_up",
    "record",
    "row_of",
    "running",
    "unfinished",
]

DONE, _RETRY, _DEAD, WAIT = "done", "retry", "dead", "wait"


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt that has begun: *owner* is the consumer that began it, *outcome* None while it is open."""

    owner: str
    outcome: Outcome | None


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
        known[Key(event_id, subscription, replay)][attempt] = Begun(owner, _outcome(outcome, delay, reason, result))
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


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that is being attempted, or is to be attempted *again* at a moment."""

    event_id: str
    again: datetime | None


def unfinished(transaction: Connection, subscription: str, lanes: Collection[str]) -> dict[str, list[Unfinished]]:
    """Return what is not finished of *subscription*, by lane, the earliest event first."""
    later = table.alias()
    same = [later.c[name] == table.c[name] for name in ("event_id", "subscription", "replay")]
    query = (
        select(table.c.lane, table.c.event_id, table.c.ended, table.c.delay)
        .where(table.c.subscription == subscription, table.c.lane.in_([*lanes]))
        .where(table.c.outcome.is_(None) | table.c.outcome.in_((_RETRY, WAIT)))
        .where(~exists().where(*same, later.c.attempt > table.c.attempt))
        .order_by(table.c.event_id)
    )
    found: dict[str, list[Unfinished]] = defaultdict(list)
    for lane, event_id, ended, delay in transaction.execute(query):
        found[lane].append(Unfinished(event_id, ended + timedelta(seconds=delay or 0) if ended else None))
    return found


def running(transaction: Connection, subscription: str) -> set[Key]:
    """Return the deliveries of *subscription* whose latest attempt has begun and has no outcome."""
    query = select(table.c.event_id, table.c.subscription, table.c.replay).where(
        table.c.subscription == subscription, table.c.lane.is_not(None), table.c.outcome.is_(None)
    )
    return {Key(*row) for row in transaction.execute(query)}


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
    return json.dumps(result, default=str) if result else None


def _outcome(outcome: str | None, delay: int | None, reason: str | None, result: str | None) -> Outcome | None:
    if outcome is None:
        return None
    facts = json.loads(result) if result else {}
    if outcome == DONE:
        return Done(facts, reason or "")
    if outcome == _RETRY:
        return Retry(timedelta(seconds=delay or 0), reason or "", facts)
    if outcome == WAIT:
        return Waiting(timedelta(seconds=delay or 0), reason or "", facts)
    return DeadLetter(reason or "", facts) if outcome == _DEAD else Skipped(outcome, reason or "", facts)
