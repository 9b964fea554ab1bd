"""Lanes: which delivery of a lane is before another one, at the same cost however many wait in the lane.

A row stays in its lane until its attempt ends.  One that holds up nobody any more, because a later attempt has begun
or its message is lost, leaves the lane when somebody comes upon it.  So the first row of a lane is nearly always the
delivery that all others wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    tuple_,
    update,
)
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


@dataclass(frozen=True, slots=True)
class Place:
    """When a delivery came to its lane, or its latest attempt *started*; *is_alone* if the lane has no other row."""

    started: datetime
    is_alone: bool = False


def _has_begun(rows: FromClause) -> ColumnElement[bool]:
    """Return what is true of *rows* of deliveries whose handler was called.

    This and `_has_not_begun` must equal the conditions of the indexes `deliveries_begun` and `deliveries_waiting` in
    the revisions, literal values included: otherwise SQLite does not use the indexes.
    """
    waited = _waits(rows) & or_(rows.c.attempt > literal_column("1"), rows.c.result.is_not(None))
    ends = (rows.c.outcome.is_(None), rows.c.outcome == literal_column("'retry'"), waited)
    return and_(rows.c.lane.is_not(None), or_(*ends))


def _has_not_begun(rows: FromClause) -> ColumnElement[bool]:
    """Return what is true of *rows* of deliveries that wait for the first call of their handler."""
    first = and_(rows.c.attempt == literal_column("1"), rows.c.result.is_(None))
    return and_(rows.c.lane.is_not(None), _waits(rows), first)


def _waits(rows: FromClause) -> ColumnElement[bool]:
    return and_(rows.c.outcome == literal_column("'wait'"))


_ORDER = ("started", "event_id", "replay")
_KEY = (*Key._fields, "attempt")


def _before(condition: ColumnElement[bool], *columns: Any) -> Select[Any]:  # noqa: ANN401 - columns of any kind
    """Return the query of the first rows of a lane that fulfil *condition* and are before a place in it."""
    same = (table.c[each] == bindparam(each, type_=table.c[each].type) for each in ("subscription", "lane"))
    place = tuple_(*(bindparam(each, type_=table.c[each].type) for each in _ORDER))
    own = [table.c[each] for each in _ORDER]
    where = (*same, condition, tuple_(*own) < place)
    return select(*columns).where(*where).limit(bindparam("most"))


def _looking(condition: ColumnElement[bool]) -> Select[Any]:
    later = table.alias()
    same = (later.c[each] == table.c[each] for each in Key._fields)
    is_over = exists().where(*same, later.c.attempt > table.c.attempt).label("is_over")
    columns = [table.c[each] for each in (*_KEY, "started", "owner", "outcome", "ended", "delay")]
    return _before(condition, *columns, is_over).order_by(*(table.c[each] for each in _ORDER))


def _has_others(kind: Callable[[FromClause], ColumnElement[bool]]) -> ColumnElement[bool]:
    """Return whether another row of this *kind* is in the lane of a row."""
    other = table.alias()
    same = (other.c[each] == table.c[each] for each in ("subscription", "lane"))
    is_other = or_(*(other.c[each] != table.c[each] for each in _KEY))
    return exists().where(*same, kind(other), is_other)


_BEGUN, _NOT_BEGUN = _looking(_has_begun(table)), _looking(_has_not_begun(table))
_COUNTED = select(func.count()).select_from(_before(_has_not_begun(table), literal_column("1")).subquery())
_IS_ALONE = and_(table.c.lane.is_not(None), not_(_has_others(_has_begun)), not_(_has_others(_has_not_begun)))
_PLACES = (
    select(*(table.c[each] for each in (*Key._fields, "started")), _IS_ALONE)
    .where(
        table.c.event_id.in_(bindparam("ids", expanding=True)),
        table.c.subscription == bindparam("subscription", type_=table.c.subscription.type),
    )
    .order_by(table.c.attempt)
)
_LEAVES = (
    update(table)
    .where(*(table.c[each] == bindparam(f"its_{each}", type_=table.c[each].type) for each in _KEY))
    .values(lane=None)
)
_LAST = datetime.max.replace(tzinfo=UTC)


def places(transaction: Connection, subscription: str, ids: Collection[str]) -> Mapping[Key, Place]:
    """Return the places of the deliveries of the events *ids* that have rows, with one query, whatever their lanes."""
    found = transaction.execute(_PLACES, {"ids": [*ids], "subscription": subscription})
    return {Key(*key): Place(started, is_alone) for *key, started, is_alone in found}


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
    # One that has waited and is attempted now keeps the moment when its waiting ended.
    has_ended = row.outcome is not None
    after = again(row.outcome, row.ended, timedelta(seconds=row.delay or 0)) if has_ended else None
    return Unfinished(row.event_id, row.started, row.owner, after)
