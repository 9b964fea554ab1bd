"""The tables of the router's state.  Change a table only together with a new revision.

No query joins two events or two nodes, so that the tables can be partitioned.  Moments are whole microseconds since
1970, because SQLite has no type for them.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

from ..database.column_types import Word
from ..database.revisions import Revisions

REVISIONS = Revisions(
    folder=Path(__file__).parent / "migrations" / "versions",
    latest="6",
    table="state_alembic_version",
    first_sign="occurrences",
    lock_number=0x737461746573,
    command="clusterbus router",
)

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
    Column("digest", LargeBinary, nullable=True),
    sqlite_with_rowid=False,
)
"""The event of each record, which another record may have started.  *digest* is of its content, null before revision 2.
"""

occurrences = Table(
    "occurrences",
    metadata,
    Column("event", _ID, primary_key=True),
    Column("key", String(32), nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False, index=True),
    Index("occurrences_by_key", "key", "captured"),
)
"""Global events, by the key that their copies share."""

observers = Table(
    "observers",
    metadata,
    Column("event", _ID, primary_key=True),
    Column("node", String(255), primary_key=True),
    Column("record", _ID, nullable=False),
    sqlite_with_rowid=False,
)
"""The nodes that reported a global event, each with its record."""

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
"""Sequence numbers by node.  *epochs* is JSON; *missing* and *untold* are computed from it, for queries."""

outbox = Table(
    "outbox",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", _ID, nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
)
"""The router's own events that the broker has not confirmed yet."""

refusals = Table(
    "refusals",
    metadata,
    Column("exchange", String(255), primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
)
"""The exchange where queues that are not ours refuse messages now, how many, and since when."""

misses = Table(
    "misses",
    metadata,
    Column("service", String(63), primary_key=True),
    Column("missed", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("grown", BigInteger, nullable=False),
    Column("emptied", BigInteger),
)
"""What each service has missed: see `services.misses.Misses`."""

dismissals = Table(
    "dismissals",
    metadata,
    Column("user", Word(255), primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("latest", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
)
"""How many rejected records of each user were not kept, from *since* to *latest*; forgotten a day after the latest."""


def microseconds(moment: datetime) -> int:
    """Return *moment* as it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """Return the moment that was stored as *microseconds*."""
    return _EPOCH + microseconds * _MICROSECOND
