"""The tables of the router's state.  No look-up crosses two events or two nodes, so that it can be partitioned.

Moments are whole microseconds since 1970: SQLite has no type for them.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

metadata = MetaData()

_ID = String(26)

records = Table(
    "records",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("event", _ID, nullable=False),
    Column("is_copy", Boolean, nullable=False),
    Column("node", String(255), nullable=False),
    Column("received", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""What became of each record: the event that it is told in."""

occurrences = Table(
    "occurrences",
    metadata,
    Column("event", _ID, primary_key=True),
    Column("key", String(32), nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False, index=True),
    Index("occurrences_by_key", "key", "captured"),
)
"""Global events, by what their copies have in common."""

observers = Table(
    "observers",
    metadata,
    Column("event", _ID, primary_key=True),
    Column("node", String(255), primary_key=True),
    Column("record", _ID, nullable=False),
    sqlite_with_rowid=False,
)
"""Which nodes have told of a global event, in which record."""

nodes = Table(
    "nodes",
    metadata,
    Column("cluster", String(255), primary_key=True),
    Column("node", String(255), primary_key=True),
    Column("heard", BigInteger, nullable=False, index=True),
    Column("beating", Boolean, nullable=False),
    Column("silent", Boolean, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("untold", BigInteger, nullable=True, index=True),
    Column("epochs", Text, nullable=False),
)
"""Continuity.  *epochs* is JSON, read and written as a whole; *missing* and *untold* are drawn from it, to be asked."""

outbox = Table(
    "outbox",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", _ID, nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
)
"""Events of the router's own that the broker has not yet confirmed."""


def microseconds(moment: datetime) -> int:
    """Return *moment* as it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """Return what was stored."""
    return _EPOCH + microseconds * _MICROSECOND
