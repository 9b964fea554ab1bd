"""Lanes: which delivery of a lane is before another one, at the same cost however many wait in the lane.

A row stays in its lane until its attempt ends.  One that holds up nobody any more, because a later attempt has begun
or its message is lost, leaves the lane when somebody comes upon it.  So the first row of a lane is nearly always the
delivery that all others wait for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, literal_column, select, tuple_, update
from sqlalchemy.engine import Connection

from ...deliveries import Key
from ...processes import cleanup
from ..queries import again
from ..schema import deliveries as table

_GONE = timedelta(days=1)
"""The time after which an overdue delivery, or an open one whose consumer is dead, no longer blocks its lane."""

_SOONEST, _LATEST = timedelta(seconds=1), timedelta(minutes=1)
"""The shortest and the longest wait for a delivery whose end is not known."""

_LOOKS = (2, 20, 200, 2000)
"""How many rows are read, one look after another, while all rows of the look before have left the lane."""

MOST_AHEAD = 5000
"""The number up to which the deliveries are counted that are before another one."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that *owner* is attempting since *started*, or whose next attempt is due at the time *again*."""

    event_id: str
    started: datetime
    owner: str
    again: datetime | None

    def is_gone(self, now: datetime) -> bool:
        """Return whether the delivery will not return: its message is lost, or the broker parked it."""
        if (self.again or self.started) + _GONE > now:
            return False
        return self.again is not None or not cleanup.is_alive(self.owner)

    def wait(self, now: datetime) -> timedelta:
        """Return how long to wait for it: until it is due, and for an overdue one a time that grows with the delay."""
        since = self.again or self.started
        return since - now if since > now else min(max((now - since) / 4, _SOONEST), _LATEST)


# These must equal the conditions of the indexes `deliveries_begun` and `deliveries_waiting` in the revisions, literal
# values included: otherwise SQLite does not use the indexes.
_WAITS = table.c.outcome == literal_column("'wait'")
_HAS_BEGUN = (
    table.c.outcome.is_(None)
    | (table.c.outcome == literal_column("'retry'"))
    | (_WAITS & ((table.c.attempt > literal_column("1")) | table.c.result.is_not(None)))
)
_HAS_NOT_BEGUN = _WAITS & (table.c.attempt == literal_column("1")) & table.c.result.is_(None)

_PLACE = ("started", "event_id", "replay")
_KEY = ("event_id", "subscription", "replay", "attempt")


def _before(condition: ColumnElement[bool], *columns: Any) -> Select[Any]:  # noqa: ANN401 - columns of any kind
    """Return the query of the first rows of a lane that fulfil *condition* and are before a place in it."""
    same = (table.c[each] == bindparam(each, type_=table.c[each].type) for each in ("subscription", "lane"))
    place = tuple_(*(bindparam(each, type_=table.c[each].type) for each in _PLACE))
    own = [table.c[each] for each in _PLACE]
    where = (*same, table.c.lane.is_not(None), condition, tuple_(*own) < place)
    return select(*columns).where(*where).limit(bindparam("most"))


def _looking(condition: ColumnElement[bool]) -> Select[Any]:
    later = table.alias()
    same = (later.c[each] == table.c[each] for each in _KEY[:3])
    is_over = exists().where(*same, later.c.attempt > table.c.attempt).label("is_over")
    columns = [table.c[each] for each in (*_KEY, "started", "owner", "outcome", "ended", "delay")]
    return _before(condition, *columns, is_over).order_by(*(table.c[each] for each in _PLACE))


_BEGUN, _NOT_BEGUN = _looking(_HAS_BEGUN), _looking(_HAS_NOT_BEGUN)
_COUNTED = select(func.count()).select_from(_before(_HAS_NOT_BEGUN, literal_column("1")).subquery())
_LEAVES = (
    update(table)
    .where(*(table.c[each] == bindparam(f"its_{each}", type_=table.c[each].type) for each in _KEY))
    .values(lane=None)
)
_LAST = datetime.max.replace(tzinfo=UTC)


def came(transaction: Connection, subscription: str, ids: Collection[str]) -> Mapping[Key, datetime]:
    """Return when the latest attempts at the events *ids* started; one that waits has the moment when it came."""
    columns = [table.c[each] for each in (*Key._fields, "started")]
    query = select(*columns).where(table.c.event_id.in_([*ids]), table.c.subscription == subscription)
    return {Key(*key): started for *key, started in transaction.execute(query.order_by(table.c.attempt))}


def first_before(
    transaction: Connection, lane: str, key: Key, started: datetime, now: datetime, *, has_begun: bool
) -> Unfinished | None:
    """Return an unfinished delivery of *lane* that is before the one with this *key*; None if there is none.

    Deliveries whose handler was called come first, which *has_begun* says of this one; then those that came first, by
    *started*.  So the answer is the first of the lane.
    """
    place = {"lane": lane, "started": started, **key._asdict()}
    if has_begun:
        return _first(transaction, _BEGUN, place, now)
    first = _first(transaction, _BEGUN, place | {"started": _LAST}, now)
    return first or _first(transaction, _NOT_BEGUN, place, now)


def count_before(transaction: Connection, lane: str, key: Key, started: datetime) -> int:
    """Return how many deliveries of *lane* came before the one with this *key*, which came at *started*.

    Those whose handler was called are not counted, nor more than `MOST_AHEAD`.
    """
    place = {"lane": lane, "started": started, "most": MOST_AHEAD, **key._asdict()}
    return int(transaction.scalar(_COUNTED, place) or 0)


def _first(transaction: Connection, query: Select[Any], place: Mapping[str, Any], now: datetime) -> Unfinished | None:
    """Return the first delivery that *query* finds before *place* and that holds up others."""
    one: Unfinished | None = None
    for most in _LOOKS:
        rows = transaction.execute(query, {**place, "most": most}).all()
        leaving: list[Any] = []
        for row in rows:
            one = _unfinished(row)
            if row.is_over or one.is_gone(now):
                leaving.append(row)
            elif (row.event_id, row.replay) != (place["event_id"], place["replay"]):
                _leave(transaction, leaving)
                return one
        _leave(transaction, leaving)
        if len(rows) < most:
            return None
    # So many have left that the next look is one of another transaction.
    return one and replace(one, again=now + _SOONEST)


def _leave(transaction: Connection, rows: Sequence[Any]) -> None:
    if rows:
        transaction.execute(_LEAVES, [{f"its_{each}": getattr(row, each) for each in _KEY} for row in rows])


def _unfinished(row: Any) -> Unfinished:  # noqa: ANN401 - a row of any query
    after = again(row.outcome, row.ended, timedelta(seconds=row.delay or 0)) if row.ended else None
    return Unfinished(row.event_id, row.started, row.owner, after)
