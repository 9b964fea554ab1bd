"""Rows of alerts, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.engine import Connection

from ...alerts.alert_row import AlertRow, State
from ..schema.alert_tables import alerts as table
from ..schema.alert_tables import changes

OPEN: tuple[State, ...] = ("open", "acknowledged")
"""The states of what is not over."""

COLUMNS = tuple(each.name for each in fields(AlertRow) if each.name not in ("last_change", "confirmed_by"))
"""The columns of an `AlertRow`, without its last change.  `event_node` has `confirmed_by` too, after a blank."""


def query() -> Select[Any]:
    """Return the query of all alerts, with the last change of each."""
    last = and_(changes.c.alert == table.c.id, changes.c.number == table.c.change)
    columns = [table.c[each] for each in COLUMNS]
    return select(*columns, changes.c.body.label("last_change")).join_from(table, changes, last, isouter=True)


def rows(transaction: Connection, wanted: Select[Any]) -> list[AlertRow]:
    """Return the alerts that *wanted* finds, a `query` with conditions."""
    return [_row(each) for each in transaction.execute(wanted).mappings()]


def values(row: AlertRow) -> dict[str, object]:
    """Return the columns of *row*."""
    found = {name: getattr(row, name) for name in COLUMNS}
    reporters = f"{row.event_node} {row.confirmed_by}".rstrip()
    return found | {"event_node": reporters, "about": json.dumps([*row.about]), "next_due": row.next_due}


def reporters_of(column: str) -> tuple[str, str]:
    """Return who reported an alert and who confirmed it, by the *column* `event_node`.

    >>> reporters_of("nsd01 nsd02"), reporters_of("nsd01")
    (('nsd01', 'nsd02'), ('nsd01', ''))
    """
    reported, _, confirmed = column.partition(" ")
    return reported, confirmed


def _row(found: Mapping[Any, Any]) -> AlertRow:
    about = tuple((name, value) for name, value in json.loads(found["about"]))
    reported, confirmed = reporters_of(found["event_node"])
    return AlertRow(**{**found, "about": about, "event_node": reported, "confirmed_by": confirmed})
