"""The tables of deliveries, letters and the audit.  A change to a table needs a new revision."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, ColumnElement, Index, Integer, LargeBinary, MetaData, Table, func, or_

from router.database.column_types import Moment, Plain, Word, plain_text
from router.database.revisions import Revisions

LOCK = 0x636C7573746572
"""The PostgreSQL advisory lock for transactions that read, decide and write: audit, rates, breakers, upgrades."""

REVISIONS = Revisions(
    folder=Path(__file__).parents[1] / "migrations" / "versions",
    latest="10",
    table="alembic_version",
    first_sign="store_version",
    lock_number=LOCK,
    command="clusterbus consume",
)


def is_event(column: Column[str], event: str) -> ColumnElement[bool]:
    """Return the condition that the event type in *column* is *event*, or ends with it as its last word.

    Databases differ in whether `LIKE` ignores case, so both sides are lower case.
    """
    return or_(func.lower(column) == func.lower(plain_text(event)), column.iendswith(f".{event}", autoescape=True))


metadata = MetaData()

deliveries = Table(
    "deliveries",
    metadata,
    Column("event_id", Word(26), primary_key=True),
    Column("subscription", Word(100), primary_key=True),
    Column("replay", Word(64), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("event", Plain, nullable=False),
    Column("topic", Plain, nullable=False),
    Column("node", Plain, nullable=False),
    Column("started", Moment, nullable=False),
    Column("ended", Moment),
    Column("outcome", Word(16)),
    Column("delay", Integer),
    Column("reason", Plain),
    Column("result", Plain),
    Column("digest", Word(64), nullable=False),
    Column("owner", Plain, nullable=False),
    Column("lane", Plain),
    # No longer written: see the revision `leases`.
    Column("place", Plain),
    Index("deliveries_by_start", "started"),
    # The revision that makes them has their conditions: with one here, all commands would import the dialect of
    # PostgreSQL.
    Index("deliveries_begun", "subscription", "lane", "started", "event_id", "replay"),
    Index("deliveries_waiting", "subscription", "lane", "started", "event_id", "replay", "outcome", "result"),
    sqlite_with_rowid=False,
)

passes = Table(
    "passes",
    metadata,
    Column("subscription", Word(100), primary_key=True),
    Column("rule", Word(16), primary_key=True),
    Column("key", Plain, primary_key=True),
    Column("event_id", Word(26), primary_key=True),
    Column("at", Moment, nullable=False),
    Index("passes_by_key", "subscription", "rule", "key", "at"),
    Index("passes_by_time", "at"),
    Index("passes_by_event", "event_id", "subscription", "rule"),
    sqlite_with_rowid=False,
)

places = Table(
    "places",
    metadata,
    Column("rule", Plain, primary_key=True),
    Column("key", Plain, primary_key=True),
    Column("event_id", Word(26), primary_key=True),
    Column("subscription", Word(100), primary_key=True),
    Column("replay", Word(64), primary_key=True),
    Column("owner", Plain, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("ended", Moment),
    Index("places_by_delivery", "event_id", "subscription", "replay"),
    Index("places_by_owner", "owner"),
    Index("places_by_lease", "until"),
    Index("places_by_end", "rule", "ended", "until"),
    sqlite_with_rowid=False,
)

failures = Table(
    "failures",
    metadata,
    Column("subscription", Word(100), primary_key=True),
    Column("at", Moment, primary_key=True),
    Column("mark", Plain, primary_key=True),
    Index("failures_by_time", "at"),
    sqlite_with_rowid=False,
)

stops = Table(
    "stops",
    metadata,
    Column("id", Word(26), primary_key=True),
    Column("subscription", Word(100), nullable=False),
    Column("cluster", Plain, nullable=False),
    Column("node", Plain, nullable=False),
    Column("event", Plain, nullable=False),
    Column("event_id", Word(26), nullable=False),
    Column("at", Moment, nullable=False),
    Column("reason", Plain, nullable=False),
    Column("reported", Moment),
    Column("resumed", Moment),
    Column("by", Plain, nullable=False),
    Column("comment", Plain, nullable=False),
    Column("resume_reported", Moment),
    Index("stops_by_subscription", "subscription", "at"),
    Index("stops_by_report", "reported"),
    Index("stops_by_end", "resume_reported"),
)

folds = Table(
    "folds",
    metadata,
    Column("subscription", Word(100), primary_key=True),
    Column("head", Word(26), primary_key=True),
    Column("key", Plain, nullable=False),
    Column("due", Moment, nullable=False),
    Column("told", Moment),
    Column("events", Integer, nullable=False),
    Column("facts", Plain, nullable=False),
    Index("folds_by_key", "subscription", "key", "told"),
    Index("folds_by_end", "told"),
    Index("folds_by_due", "due"),
    sqlite_with_rowid=False,
)

silences = Table(
    "silences",
    metadata,
    Column("id", Word(26), primary_key=True),
    Column("subscription", Word(100), nullable=False),
    Column("where", Plain, nullable=False),
    Column("author", Plain, nullable=False),
    Column("comment", Plain, nullable=False),
    Column("made", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Index("silences_by_end", "until"),
)

breakers = Table(
    "breakers",
    metadata,
    Column("target", Plain, primary_key=True),
    Column("failed", Integer, nullable=False),
    Column("until", Moment),
    Column("opened", Moment),
    Column("reason", Plain, nullable=False),
    # When it failed last or was tried, by which it is deleted; null if only a person closes it.
    Column("latest", Moment),
    Index("breakers_by_time", "latest"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Word(16), primary_key=True),
    Column("event_id", Word(26), nullable=False),
    Column("subscription", Word(100), nullable=False),
    Column("event", Plain, nullable=False),
    Column("plan", Plain, nullable=False),
    Column("asked", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("state", Word(16), nullable=False),
    Column("by", Plain, nullable=False),
    Column("answered", Moment),
    Index("approvals_by_end", "until"),
)

events = Table(
    "events",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("id", Word(26), nullable=False, unique=True),
    Column("event", Plain, nullable=False),
    Column("topic", Plain, nullable=False),
    Column("time", Plain, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
)

audit_cuts = Table(
    "audit_cuts",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("chain", LargeBinary(32), nullable=False),
    Column("at", Moment, nullable=False),
)

letters = Table(
    "letters",
    metadata,
    Column("id", Word(16), primary_key=True),
    Column("kind", Word(16), nullable=False),
    Column("event_id", Plain, nullable=False),
    Column("event", Plain, nullable=False),
    Column("subscription", Plain, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("exchange", Plain, nullable=False),
    Column("topic", Plain, nullable=False),
    Column("reason", Plain, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", Plain, nullable=False),
    Column("kept_at", Moment, nullable=False),
    Column("state", Word(16), nullable=False),
    Column("replay", Word(26), nullable=False),
    Column("by", Plain, nullable=False),
    Column("settled_at", Moment),
    Column("publisher", Plain),
    Index("letters_by_publisher", "publisher", "kept_at"),
    Index("letters_by_state", "state", "kept_at"),
    Index("letters_by_end", "state", "settled_at"),
    Index("letters_by_event", "event_id"),
)

deleted_records = Table(
    "deleted_records",
    metadata,
    Column("user", Plain, primary_key=True),
    Column("since", Moment, nullable=False),
    Column("latest", Moment, nullable=False),
    Column("count", BigInteger, nullable=False),
)

amendments = Table(
    "amendments",
    metadata,
    Column("letter", Word(16), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("by", Plain, nullable=False),
    Column("at", Moment, nullable=False),
    Column("changes", Plain, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

bindings = Table(
    "bindings",
    metadata,
    Column("subscription", Word(100), primary_key=True),
    Column("pattern", Word(255), primary_key=True),
    sqlite_with_rowid=False,
)
