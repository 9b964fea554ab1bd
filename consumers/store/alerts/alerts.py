"""Reading alerts: lists, one alert, and its history."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, func
from sqlalchemy import select as selecting
from sqlalchemy.engine import Connection

from router.model.events import Severity
from router.model.ids import new_id

from ...alerts.alert_row import AlertRow, Cause, State
from ...alerts.observations import Act, Observation
from ...errors import AlertNotFound
from ..database import lock
from ..schema.alert_tables import alerts as table
from ..schema.alert_tables import changes
from . import observed

__all__ = ["AlertRow", "ChangeRow", "act", "count_open", "find", "history", "select"]

OPEN: tuple[State, ...] = ("open", "acknowledged")
_NEAR, _KNOWN = 5, 200
_MOMENT = timedelta(microseconds=1)


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
    limit: int = 100,
    after: str | None = None,
) -> list[AlertRow]:
    """Return up to *limit* alerts in *states* that match all filters, those that opened last first.

    *after* is the id of the last alert of the page before.
    """
    query = _query().where(table.c.state.in_(tuple(states)))
    for column, value in ((table.c.rule, rule), (table.c.cluster, cluster), (table.c.node, node)):
        if value is not None:
            query = query.where(column == value)
    if severity is not None:
        query = query.where(table.c.severity.in_(tuple(severity)))
    if after is not None:
        query = query.where(table.c.id < after)
    return rows(transaction, query.order_by(table.c.id.desc()).limit(limit))


def find(transaction: Connection, id_or_prefix: str) -> AlertRow:
    """Return the alert with this id, or the only one whose id begins so; raises AlertNotFound with those like it."""
    wanted = id_or_prefix.strip().upper()
    begins = table.c.id.startswith(wanted, autoescape=True)
    found = rows(transaction, _query().where(begins).order_by(table.c.id.desc()).limit(_NEAR)) if wanted else []
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
    query = selecting(*(changes.c[name] for name in names), told).where(changes.c.alert == alert_id)
    return [ChangeRow(**row) for row in transaction.execute(query.order_by(changes.c.number)).mappings()]


def act(transaction: Connection, alert_id: str, what: Act, *, by: str, comment: str = "", at: datetime) -> None:
    """Write that a person did this *at* a moment, after all that is known of the alert.

    It needs no consumer.  Raises AlertNotFound if no alert has this id.
    """
    lock(transaction)
    key = find(transaction, alert_id).key
    known = observed.of_keys(transaction, [key])[key]
    moment = max([at, *(each.at + _MOMENT for each in known)])
    observation = Observation(
        id=new_id(at), at=moment, kind=what, cause="person", by=by, comment=comment, alert=alert_id
    )
    observed.keep(transaction, [(key, observation)])


def count_open(transaction: Connection) -> Mapping[tuple[str, str, State], int]:
    """Return the number of open and acknowledged alerts by rule, severity and state."""
    columns = (table.c.rule, table.c.severity, table.c.state)
    query = selecting(*columns, func.count()).where(table.c.state.in_(OPEN)).group_by(*columns)
    return {(rule, severity, state): number for rule, severity, state, number in transaction.execute(query)}


def rows(transaction: Connection, query: Select[Any]) -> list[AlertRow]:
    """Return the alerts that *query* finds: it selects COLUMNS."""
    return [_row(each) for each in transaction.execute(query).mappings()]


def _query() -> Select[Any]:
    last = and_(changes.c.alert == table.c.id, changes.c.number == table.c.change)
    return selecting(*COLUMNS, changes.c.body.label("last_change")).join_from(table, changes, last, isouter=True)


COLUMNS = [table.c[each.name] for each in fields(AlertRow) if each.name != "last_change"]
"""The columns of an `AlertRow`, without its last change."""


def _row(found: Mapping[Any, Any]) -> AlertRow:
    return AlertRow(**{**found, "about": tuple((name, value) for name, value in json.loads(found["about"]))})
