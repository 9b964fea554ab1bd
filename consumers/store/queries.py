"""Search and count attempts, for display."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, and_, distinct, exists, func, select
from sqlalchemy.engine import Connection, RowMapping

from router.broker.topology import RETRY_STEPS

from ..policies.failure_fingerprints import fingerprint
from ..policies.retry import step_for
from .schema import deliveries as table
from .schema import folds, is_event

CANCELLED = "cancelled"
"""The owner of an attempt that somebody cancelled while it waited: no consumer may begin it."""

OPEN = "open"
"""The word shown for an attempt without an outcome yet."""

_GONE = timedelta(days=1)
_KEY = ("event_id", "subscription", "replay")
_PAGE = 1000
"""The number of rows fetched at once if the filter runs in Python."""


def again(outcome: str | None, ended: datetime, delay: timedelta) -> datetime:
    """Return the earliest time of the attempt after one that *ended* with *outcome* and a *delay*."""
    # A retry waits in a single wait queue, with its fixed delay; other deliveries move from queue to queue.
    return ended + (RETRY_STEPS[step_for(delay)] if outcome == "retry" else delay)


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt for display: *outcome* is None while it is open."""

    event_id: str
    subscription: str
    replay: str
    attempt: int
    event: str
    topic: str
    node: str
    started: datetime
    ended: datetime | None
    outcome: str | None
    reason: str | None
    result: Mapping[str, object]
    digest: str
    delay: timedelta | None = None

    @property
    def again(self) -> datetime | None:
        """The earliest time of the next attempt, from the record; None if there is none."""
        if self.delay is None or self.ended is None or self.outcome not in ("retry", "wait"):
            return None
        return again(self.outcome, self.ended, self.delay)

    def as_dict(self) -> dict[str, Any]:
        """Return the record for output: with the time of the next attempt in place of the delay."""
        facts = asdict(self)
        del facts["delay"]
        return facts | {"again": self.again}


@dataclass(frozen=True, slots=True)
class WaitingRow(Row):
    """The latest attempt of a delivery that waits; *owner* is empty, or says that it was cancelled."""

    owner: str = ""

    @property
    def is_cancelled(self) -> bool:
        """Whether it ends when its message comes back."""
        return self.owner == CANCELLED


@dataclass(frozen=True, slots=True)
class Count:
    """The number of attempts with one outcome in a subscription, the number of events, and the latest start."""

    subscription: str
    outcome: str
    attempts: int
    events: int
    latest: datetime


def find(transaction: Connection, *, failure: str | None = None, limit: int = 100, **filters: Any) -> list[Row]:  # noqa: ANN401 - each as `_conditions` has it
    """Return the latest *limit* attempts that match all *filters* and the fingerprint *failure*, newest first.

    The filters are *event_id*, *subscription*, *node*, *event* (a type or its last word), *outcome* (`open`: none
    yet), *reason* (a part of it), *since* and *before*; None matches all.
    """
    conditions = _conditions(**filters)
    if transaction.dialect.name == "sqlite" and filters.get("event_id") is None:
        # SQLite takes each condition for a rare one, and would read and sort the whole table to find the newest rows.
        conditions = [func.likely(each) for each in conditions]
    query = select(*(table.c[name] for name in Row.__slots__)).where(*conditions)
    # Many attempts begin at the same time: without the whole key, the order would be up to the database.
    order = (table.c[name].desc() for name in ("started", "attempt", "event_id", "subscription", "replay"))
    query = query.order_by(*order)
    if failure is None:
        return [_shown(row) for row in transaction.execute(query.limit(limit)).mappings()]
    # The fingerprint is not a column, so that improvements to it also apply to existing rows.
    with transaction.execute(query.execution_options(yield_per=_PAGE)) as result:
        fitting = (row for row in result.mappings() if fingerprint(row["reason"] or "") == failure)
        return [_shown(row) for row in islice(fitting, limit)]


def count(transaction: Connection, *, failure: str | None = None, **filters: Any) -> list[Count]:  # noqa: ANN401 - as in `find`
    """Return how many attempts match *filters*, as for `find`, by subscription and outcome."""
    by = [table.c.subscription, table.c.outcome]
    if failure is not None:
        # Group by reason as well, and filter the reasons here.
        by.append(table.c.reason)
    counted = (func.count(), func.count(distinct(table.c.event_id)), func.max(table.c.started))
    query = select(*by, *counted).where(*_conditions(**filters)).group_by(*by)
    found: dict[tuple[str, str], Count] = {}
    for subscription, outcome, *reason, attempts, events, latest in transaction.execute(query):
        if failure is not None and fingerprint(reason[0] or "") != failure:
            continue
        key = subscription, outcome or OPEN
        before = found.get(key)
        more = Count(*key, attempts, events, latest)
        found[key] = _sum(before, more) if before else more
    # Sort here: databases differ in the order of nulls, and of letters and hyphens.
    return sorted(found.values(), key=lambda each: (each.subscription, each.outcome != OPEN, each.outcome))


def is_any_left(transaction: Connection, subscriptions: Collection[str], now: datetime) -> bool:
    """Return whether a delivery of *subscriptions* waits in the broker: for a retry, at a gate, for its group.

    One that is overdue by a day will not come back.  It reads all rows: do not ask often.
    """
    later = table.alias()
    same = [later.c[name] == table.c[name] for name in _KEY]
    retries = (
        select(table.c.outcome, table.c.ended, table.c.delay)
        .where(table.c.subscription.in_([*subscriptions]), table.c.outcome.in_(["retry", "wait"]))
        .where(~exists().where(*same, later.c.attempt > table.c.attempt))
    )
    for outcome, ended, delay in transaction.execute(retries):
        if again(outcome, ended, timedelta(seconds=delay or 0)) > now - _GONE:
            return True
    groups = select(folds.c.head).where(
        folds.c.subscription.in_([*subscriptions]), folds.c.told.is_(None), folds.c.due > now - _GONE
    )
    return transaction.execute(groups.limit(1)).first() is not None


def waiting(transaction: Connection, since: datetime, limit: int) -> list[WaitingRow]:
    """Return the latest *limit* deliveries that wait, after their handler reported nodes, for it to be called again.

    Each is its latest attempt, begun after *since*, with the last result.
    """
    before, later = table.alias(), table.alias()
    same = [[other.c[name] == table.c[name] for name in _KEY] for other in (before, later)]
    result = func.coalesce(table.c.result, before.c.result)
    columns = (result.label(name) if name == "result" else table.c[name] for name in (*Row.__slots__, "owner"))
    query = (
        select(*columns)
        .outerjoin_from(table, before, and_(*same[0], before.c.attempt == table.c.attempt - 1))
        .where(table.c.started >= since, table.c.outcome.in_(["retry", "wait"]), result.contains('"nodes"'))
        .where(~exists().where(*same[1], later.c.attempt > table.c.attempt))
        .order_by(table.c.started.desc(), table.c.event_id, table.c.subscription, table.c.replay)
    )
    return [WaitingRow(**_values(row)) for row in transaction.execute(query.limit(limit)).mappings()]


def _sum(one: Count, other: Count) -> Count:
    # An event with two failures of the same fingerprint counts twice.
    latest = max(one.latest, other.latest)
    return Count(one.subscription, one.outcome, one.attempts + other.attempts, one.events + other.events, latest)


def _conditions(
    *,
    event: str | None = None,
    outcome: str | None = None,
    reason: str | None = None,
    before: datetime | None = None,
    since: datetime | None = None,
    **same: str | None,
) -> list[ColumnElement[bool]]:
    found = [table.c[column] == value for column, value in same.items() if value is not None]
    if outcome is not None:
        found.append(table.c.outcome.is_(None) if outcome == OPEN else table.c.outcome == outcome)
    if event is not None:
        found.append(is_event(table.c.event, event))
    if reason is not None:
        found.append(table.c.reason.icontains(reason, autoescape=True))
    if before is not None:
        found.append(table.c.started < before)
    if since is not None:
        found.append(table.c.started >= since)
    return found


def _shown(row: RowMapping) -> Row:
    return Row(**_values(row))


def _values(row: RowMapping) -> dict[str, Any]:
    delay = None if row["delay"] is None else timedelta(seconds=row["delay"])
    return {**row, "result": json.loads(row["result"]) if row["result"] else {}, "delay": delay}
