"""Statements about many rows: in portions, since databases limit their values, or one for each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import bindparam, delete
from sqlalchemy.engine import Connection

Item = TypeVar("Item")


def batched(every: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield *every* in portions of *size*.

    >>> [*batched("abcde", 2)]
    ['ab', 'cd', 'e']
    """
    for at in range(0, len(every), size):
        yield every[at : at + size]


def delete_rows(transaction: Connection, table: Any, rows: Sequence[Mapping[Any, Any]]) -> None:  # noqa: ANN401 - as a column has it
    """Delete these *rows* of *table*, which have at least its key: for a list, PostgreSQL may read the whole table."""
    if rows:
        keys = [*table.primary_key]
        here = (each == bindparam(f"its_{each.name}", type_=each.type) for each in keys)
        found = [{f"its_{each.name}": row[each.name] for each in keys} for row in rows]
        transaction.execute(delete(table).where(*here), found)
