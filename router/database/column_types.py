"""Column types and statements that SQLite and PostgreSQL treat alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, cast

from sqlalchemy import Connection, Dialect, FromClause, RowMapping, Select, String, Table, Text, bindparam, delete
from sqlalchemy.types import TypeDecorator


def plain_text(value: str) -> str:
    r"""Return *value* as every database accepts it: NUL and unpaired surrogates are replaced.

    >>> plain_text("a\0b \ud800")
    'a\ufffdb ?'
    """
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Plain(TypeDecorator[str]):
    """Text from outside: characters that a database would refuse are replaced, in rows and in queries.

    Otherwise a refused row would be retried forever, and a refused query would stop the program.
    """

    impl: type[String] = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the interface
        """Return *value* as it is stored."""
        return None if value is None else plain_text(value)


class Word(Plain):
    """Plain text of limited length: PostgreSQL refuses a longer value, SQLite does not."""

    impl = String
    cache_ok = True


def moment_text(value: datetime) -> str:
    """Return the stored text of the aware datetime *value*."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


class Moment(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC text of fixed width, so that text order is time order."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the interface
        """Return the stored text of *value*."""
        return None if value is None else moment_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the interface
        """Return the datetime of the stored text."""
        return None if value is None else datetime.fromisoformat(value)


def inserting(dialect: str, table: Table) -> Any:  # noqa: ANN401 - the dialects' inserts are alike, their types are not
    """Return an insert into *table* for *dialect* that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    # Each dialect takes as long to import as some commands run.
    return import_module(f"sqlalchemy.dialects.{'postgresql' if dialect == 'postgresql' else 'sqlite'}").insert(table)


def delete_rows(transaction: Connection, table: FromClause, rows: Sequence[RowMapping]) -> None:
    """Delete these *rows* of *table*, which have at least its key."""
    if rows:
        keys = [*table.primary_key]
        here = (each == bindparam(f"its_{each.name}", type_=each.type) for each in keys)
        found = [{f"its_{each.name}": row[each.name] for each in keys} for row in rows]
        transaction.execute(delete(cast("Table", table)).where(*here), found)


def delete_found(transaction: Connection, query: Select[Any], limit: int) -> int:
    """Delete the first *limit* rows of the one table whose keys *query* finds; return how many."""
    found = transaction.execute(query.limit(limit)).mappings().all()
    delete_rows(transaction, query.get_final_froms()[0], found)
    return len(found)
