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

COLUMNS = tuple(each.name for each in fields(AlertRow) if each.name != "last_change")
"""The columns of an `AlertRow`, without its last change."""


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
    return found | {"about": json.dumps([*row.about]), "next_due": row.next_due}


def _row(found: Mapping[Any, Any]) -> AlertRow:
    return AlertRow(**{**found, "about": tuple((name, value) for name, value in json.loads(found["about"]))})
