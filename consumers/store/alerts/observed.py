"""The table of observations."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from router.database.column_types import inserting

from ...alerts.life.observations import Observation
from ..database import batched
from ..schema.alert_tables import observations as table

_COLUMNS = ("id", "at", "kind", "alert", "body")
_FACTS = tuple(each for each in fields(Observation) if each.name not in _COLUMNS)


def keep(transaction: Connection, observed: Iterable[tuple[str, Observation]]) -> None:
    """Write observations, each with its key; those that exist get the alert that they began."""
    rows = [_row(key, each) for key, each in observed]
    if rows:
        transaction.execute(_keeping(transaction.dialect.name), rows)


@cache
def _keeping(dialect: str) -> Any:  # noqa: ANN401 - as `inserting`
    """Return what `keep` executes; it takes longer to build than to execute."""
    statement = inserting(dialect, table)
    began = {"alert": statement.excluded["alert"]}
    return statement.on_conflict_do_update(index_elements=table.primary_key.columns, set_=began)


def of_keys(transaction: Connection, keys: Collection[str]) -> dict[str, list[Observation]]:
    """Return what was observed of *keys*, in no order."""
    found: dict[str, list[Observation]] = {each: [] for each in keys}
    for portion in batched([*found]):
        for row in transaction.execute(select(table).where(table.c.key.in_(portion))).mappings():
            found[row["key"]].append(_observation(row))
    return found


def _row(key: str, observation: Observation) -> dict[str, object]:
    facts = {each.name: getattr(observation, each.name) for each in _FACTS}
    told = {name: value for (name, value), each in zip(facts.items(), _FACTS, strict=True) if value != each.default}
    written = json.dumps(told, default=datetime.isoformat)
    return {"key": key, "facts": written} | {name: getattr(observation, name) for name in _COLUMNS}


def _observation(row: Mapping[Any, Any]) -> Observation:
    facts = json.loads(row["facts"])
    if found_at := facts.pop("found_at", None):
        facts["found_at"] = datetime.fromisoformat(found_at)
    return Observation(**facts, **{name: row[name] for name in _COLUMNS})
