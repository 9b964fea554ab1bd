"""The tables of the facts.  Change a table only together with a new revision.

Moments are text in UTC of fixed width, so that text order is time order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Column, MetaData, String, Table, Text

from ...database.column_types import Word
from ...database.revisions import Revisions

LOCK = 0x6661637473
"""The PostgreSQL advisory lock that writers hold."""

REVISIONS = Revisions(
    folder=Path(__file__).parent / "migrations" / "versions",
    latest="2",
    table="facts_alembic_version",
    first_sign="facts_version",
    lock_number=LOCK,
    command="clusterbus facts read",
)

LONGEST_PART = 300
"""The most characters in the name of a part."""

metadata = MetaData()

contents = Table(
    "facts_contents",
    metadata,
    Column("cluster", Word(100), primary_key=True),
    Column("part", Word(LONGEST_PART), primary_key=True),
    Column("since", String(32), primary_key=True),
    Column("confirmed", String(32), nullable=False, index=True),
    Column("content", Text),
)
"""A part had this content from *since*, last seen at *confirmed*.  No content means that the part did not exist."""

failures = Table(
    "facts_failures",
    metadata,
    Column("cluster", Word(100), primary_key=True),
    Column("part", Word(LONGEST_PART), primary_key=True),
    Column("since", String(32), primary_key=True),
    Column("latest", String(32), nullable=False, index=True),
    Column("reason", Text, nullable=False),
)
"""A part could not be read from *since* until *latest*; *reason* is that of the latest attempt."""


def text(moment: datetime) -> str:
    """Return an aware *moment* as it is stored.

    >>> text(datetime(2026, 11, 20, tzinfo=UTC))
    '2026-11-20T00:00:00.000000+00:00'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
