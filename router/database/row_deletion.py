"""Deleting rows that a query has found, a statement for each: for a list, PostgreSQL may read the whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete
from sqlalchemy.engine import Connection


def delete_rows(transaction: Connection, table: Any, rows: Sequence[Mapping[Any, Any]]) -> None:  # noqa: ANN401 - as a column has it
    """Delete these *rows* of *table*, which have at least its key."""
    if rows:
        keys = [*table.primary_key]
        here = (each == bindparam(f"its_{each.name}", type_=each.type) for each in keys)
        found = [{f"its_{each.name}": row[each.name] for each in keys} for row in rows]
        transaction.execute(delete(table).where(*here), found)
