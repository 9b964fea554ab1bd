"""Alerts for people and for other systems: lists, one alert, its history, and what people do to it.

Acts need no consumer: the change is made at once, and its event is in the outbox.  The consumer that runs publishes
it, or the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import func
from sqlalchemy import select as selecting
from sqlalchemy.engine import Connection

from router.model.catalogue import Catalogues
from router.model.events import Severity
from router.model.ids import new_id

from ...alerts.alert_row import AlertRow, Cause, State
from ...alerts.life.observations import Act, Observation
from ...alerts.life.surroundings import Surroundings
from ...alerts.life.unit_of_work import Times, UnitOfWork
from ...errors import AlertIsClosed, AlertNotFound
from ..database import lock
from ..schema.alert_tables import alerts as table
from ..schema.alert_tables import changes
from . import passed_time, subjects, work
from .alert_rows import OPEN, query, rows

__all__ = ["AlertRow", "ChangeRow", "act", "count_open", "find", "history", "known", "select"]

_NEAR, _KNOWN = 5, 200
_LENGTH = 26
"""The length of an id; `Z` is the last letter that one may have."""

_NO_SUPPRESSORS: Mapping[str, frozenset[str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One change of an alert: `name` is that of its event, such as `alertOpened`.

    `told` is False for what was never published, and `why` says the reason; `published` is when the broker had it.
    """

    id: str
    alert: str
    number: int
    name: str
    at: datetime
    cause: Cause
    by: str
    comment: str
    why: str
    told: bool
    published: datetime | None


def select(  # noqa: PLR0913 - each is one filter
    transaction: Connection,
    *,
    states: Collection[State] = OPEN,
    rule: str | None = None,
    cluster: str | None = None,
    node: str | None = None,
    severity: Collection[Severity] | None = None,
    suppressed: bool | None = None,
    limit: int = 100,
    after: str | None = None,
) -> list[AlertRow]:
    """Return up to *limit* alerts in *states* that match all filters, those that opened last first.

    *after* is the id of the last alert of the page before.
    """
    wanted = query().where(table.c.state.in_(tuple(states)))
    for column, value in ((table.c.rule, rule), (table.c.cluster, cluster), (table.c.node, node)):
        if value is not None:
            wanted = wanted.where(column == value)
    if severity is not None:
        wanted = wanted.where(table.c.severity.in_(tuple(severity)))
    if suppressed is not None:
        wanted = wanted.where(table.c.suppressed_by.is_not(None) if suppressed else table.c.suppressed_by.is_(None))
    if after is not None:
        wanted = wanted.where(table.c.id < after)
    return rows(transaction, wanted.order_by(table.c.id.desc()).limit(limit))


def find(transaction: Connection, id_or_prefix: str) -> AlertRow:
    """Return the alert with this id, or the only one whose id begins so; raises AlertNotFound with those like it."""
    wanted = id_or_prefix.strip().upper()
    # No database looks up `LIKE` in an index of any collation; what can begin so is between the two.
    begins = (table.c.id.between(wanted, wanted.ljust(_LENGTH, "Z")), table.c.id.startswith(wanted, autoescape=True))
    found = rows(transaction, query().where(*begins).order_by(table.c.id.desc()).limit(_NEAR)) if wanted else []
    if len(found) == 1:
        return found[0]
    if found:
        raise AlertNotFound(id_or_prefix, [each.id for each in found], is_ambiguous=True)
    near = transaction.scalars(
        selecting(table.c.id).where(table.c.state.in_(OPEN)).order_by(table.c.id.desc()).limit(200)
    )
    raise AlertNotFound(id_or_prefix, [*near])


def history(transaction: Connection, alert_id: str) -> list[ChangeRow]:
    """Return the changes of the alert, the first first."""
    names = [each.name for each in fields(ChangeRow) if each.name != "told"]
    told = changes.c.body.is_not(None).label("told")
    found = selecting(*(changes.c[name] for name in names), told).where(changes.c.alert == alert_id)
    return [ChangeRow(**row) for row in transaction.execute(found.order_by(changes.c.number)).mappings()]


def act(  # noqa: PLR0913 - what, who, when
    transaction: Connection,
    alert_id: str,
    what: Act,
    *,
    by: str,
    comment: str = "",
    at: datetime,
    cause: Cause = "person",
    catalogues: Catalogues,
) -> AlertRow:
    """Do *what* to the alert, as *by* did *at* a moment, after all that is known of it; return the alert after it.

    Closing an alert that stands for others closes these too.  The *cause* `remote` is for what was done in another
    system; changes are events of *catalogues*.  Raises AlertNotFound if no alert has this id, and AlertIsClosed where
    it is over, except for notes.
    """
    lock(transaction)
    row = find(transaction, alert_id)
    times = Times(at, passed_time.passed(transaction))
    if row.state == "closed":
        if what != "note":
            since = f" since {row.until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if row.until else ""
            raise AlertIsClosed(f"alert {row.id} has been closed{since}")
        return _note(transaction, replace(row, by=by, comment=comment), cause, times, catalogues)
    wanted = [row.key, *(_members(transaction, row) if what == "close" else ())]
    found = subjects.read(transaction, wanted)
    unit = UnitOfWork(times, found, subjects.around(transaction, found, _NO_SUPPRESSORS))
    done = Observation(id=new_id(at), at=at, kind=what, cause=cause, by=by, comment=comment)
    # Those that a group stands for first: while it is open, they are not told.
    for key in reversed(wanted):
        unit.observe(key, replace(done, at=found[key].after_all(at)))
    work.write(transaction, unit, catalogues)
    return find(transaction, row.id)


def _members(transaction: Connection, row: AlertRow) -> list[str]:
    """Return the keys of the open alerts that *row* stands for, if it is a group."""
    here = (table.c.rule == row.rule, table.c.cluster == row.cluster, table.c.state.in_(OPEN), table.c.id != row.id)
    return [*transaction.scalars(selecting(table.c.key).where(*here))] if row.is_group else []


def _note(transaction: Connection, row: AlertRow, cause: Cause, times: Times, catalogues: Catalogues) -> AlertRow:
    """Write a note on an alert that is over."""
    found = subjects.read(transaction, [row.key])
    unit = UnitOfWork(times, found, Surroundings(_NO_SUPPRESSORS))
    noted = unit.change(found[row.key], row, "alertNoted", cause, by=row.by, comment=row.comment)
    work.write(transaction, unit, catalogues)
    return noted


def known(transaction: Connection, column: Literal["rule", "cluster", "node"]) -> set[str]:
    """Return the values in *column* of the alerts that opened last, and of those that are not closed: of a number."""
    last = selecting(table.c[column]).order_by(table.c.id.desc()).limit(_KNOWN)
    return {*transaction.scalars(last), *transaction.scalars(last.where(table.c.state.in_(OPEN)))} - {""}


def count_open(transaction: Connection) -> Mapping[tuple[str, str, State], int]:
    """Return the number of open and acknowledged alerts by rule, severity and state."""
    columns = (table.c.rule, table.c.severity, table.c.state)
    found = selecting(*columns, func.count()).where(table.c.state.in_(OPEN)).group_by(*columns)
    return {(rule, severity, state): number for rule, severity, state, number in transaction.execute(found)}
