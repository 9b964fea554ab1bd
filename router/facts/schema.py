"""The tables of the facts' store.  Moments are text in UTC of fixed width: it sorts as it should."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, Integer, MetaData, String, Table, Text

VERSION = 1
"""What this release reads and writes."""

LONGEST_PART = 300
"""Characters in the name of a part at the most."""

metadata = MetaData()

versions = Table("facts_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

contents = Table(
    "facts_contents",
    metadata,
    Column("cluster", String(100), primary_key=True),
    Column("part", String(LONGEST_PART), primary_key=True),
    Column("since", String(32), primary_key=True),
    Column("confirmed", String(32), nullable=False, index=True),
    Column("content", Text),
)
"""A part was so from *since* on, and last seen to be so at *confirmed*; without content it was no more there."""

failures = Table(
    "facts_failures",
    metadata,
    Column("cluster", String(100), primary_key=True),
    Column("part", String(LONGEST_PART), primary_key=True),
    Column("since", String(32), primary_key=True),
    Column("latest", String(32), nullable=False, index=True),
    Column("reason", Text, nullable=False),
)
"""A part could not be read at *since*, nor whenever it was tried until *latest*; the reason is the latest."""


def text(moment: datetime) -> str:
    """Return an aware *moment* as it is kept.

    >>> text(datetime(2026, 11, 20, tzinfo=UTC))
    '2026-11-20T00:00:00.000000+00:00'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
