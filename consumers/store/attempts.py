"""Attempts as they are shown: found by filters, and counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, distinct, func, or_, select
from sqlalchemy.engine import Connection, RowMapping

from router.broker.topology import RUNGS

from ..fingerprints import fingerprint
from ..retries import rung
from .schema import deliveries as table

OPEN = "open"
"""What is shown for an attempt that has no outcome yet."""

_PAGE = 1000
"""Rows that are looked at in one go, where they are not chosen by the database."""


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt as it is shown: *outcome* is None while it is open."""

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
        """When it comes again, at the earliest, by what was recorded; None where nothing more is to come of it."""
        if self.delay is None or self.ended is None or self.outcome not in ("retry", "wait"):
            return None
        # A retry waits on a rung of the ladder, and other deliveries hop from rung to rung.
        return self.ended + (RUNGS[rung(self.delay)] if self.outcome == "retry" else self.delay)


@dataclass(frozen=True, slots=True)
class Count:
    """How many attempts of a subscription have an outcome, of how many events, and when the latest began."""

    subscription: str
    outcome: str
    attempts: int
    events: int
    latest: datetime


def find(transaction: Connection, *, failure: str | None = None, limit: int = 100, **filters: Any) -> list[Row]:  # noqa: ANN401 - each as `_conditions` has it
    """Return the latest *limit* attempts that fit all *filters*, newest first, and are of this *failure*.

    The filters are *event_id*, *subscription*, *node*, *event* (a type or its last word), *outcome* (`open` is none
    yet), *reason* (a part of it), *since* and *before*; None lets all pass.
    """
    query = select(*(table.c[name] for name in Row.__slots__)).where(*_conditions(**filters))
    query = query.order_by(table.c.started.desc(), table.c.attempt.desc())
    if failure is None:
        return [_shown(row) for row in transaction.execute(query.limit(limit)).mappings()]
    # The fingerprint is in no column: so it can be made better, and then holds for what is there as well.
    rows = transaction.execute(query.execution_options(yield_per=_PAGE)).mappings()
    return [_shown(row) for row in islice((row for row in rows if fingerprint(row["reason"] or "") == failure), limit)]


def count(transaction: Connection, *, failure: str | None = None, **filters: Any) -> list[Count]:  # noqa: ANN401 - as in `find`
    """Return how many attempts fit *filters*, those of `find`, by subscription and outcome."""
    by = [table.c.subscription, table.c.outcome]
    if failure is not None:
        # Reasons are grouped as well, and looked at here.
        by.append(table.c.reason)
    counted = (func.count(), func.count(distinct(table.c.event_id)), func.max(table.c.started))
    query = select(*by, *counted).where(*_conditions(**filters)).group_by(*by).order_by(*by)
    found: dict[tuple[str, str], Count] = {}
    for subscription, outcome, *reason, attempts, events, latest in transaction.execute(query):
        if failure is not None and fingerprint(reason[0] or "") != failure:
            continue
        key = subscription, outcome or OPEN
        before = found.get(key)
        more = Count(*key, attempts, events, latest)
        found[key] = _sum(before, more) if before else more
    return [*found.values()]


def _sum(one: Count, other: Count) -> Count:
    # An event that failed in two ways of one fingerprint counts for both.
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
        found.append(or_(table.c.event == event, table.c.event.endswith(f".{event}", autoescape=True)))
    if reason is not None:
        found.append(table.c.reason.contains(reason, autoescape=True))
    if before is not None:
        found.append(table.c.started < before)
    if since is not None:
        found.append(table.c.started >= since)
    return found


def _shown(row: RowMapping) -> Row:
    delay = None if row["delay"] is None else timedelta(seconds=row["delay"])
    return Row(**{**row, "result": json.loads(row["result"]) if row["result"] else {}, "delay": delay})
