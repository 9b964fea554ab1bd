"""The tables of the store, and the two kinds of value that databases do not agree on."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, Dialect, Index, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

VERSION = "2"
"""What this release reads and writes: the last revision in `migrations`."""


def moment_text(value: datetime) -> str:
    """Return an aware *value* as it is kept."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def plain_text(value: str) -> str:
    """Return *value* as it is kept."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as text in UTC of fixed width: sorts as it should, and is read without us."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the interface
        """Return *value* as it is kept."""
        return None if value is None else moment_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the interface
        """Return what was given to the store."""
        return None if value is None else datetime.fromisoformat(value)


class Plain(TypeDecorator[str]):
    """Text from outside: what a database would refuse (NUL on PostgreSQL, half surrogates) is replaced.

    A row that can never be written would be tried for ever.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the interface
        """Return *value* as it is kept."""
        return None if value is None else plain_text(value)


metadata = MetaData()

versions = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own, hence not among ours."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("event_id", String(26), primary_key=True),
    Column("subscription", String(100), primary_key=True),
    Column("replay", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("event", Plain, nullable=False),
    Column("topic", Plain, nullable=False),
    Column("node", Plain, nullable=False),
    Column("started", Moment, nullable=False),
    Column("ended", Moment),
    Column("outcome", String(16)),
    Column("delay", Integer),
    Column("reason", Plain),
    Column("result", Text),
    Column("digest", String(64), nullable=False),
    Column("owner", Text, nullable=False),
    Column("lane", Plain),
    Index("deliveries_by_start", "started"),
    sqlite_with_rowid=False,
)
# Where nobody asks what is unfinished there is no lane, and nothing to keep an index of.
_unfinished = deliveries.c.lane.is_not(None) & (
    deliveries.c.outcome.is_(None) | deliveries.c.outcome.in_(("retry", "wait"))
)
Index(
    "deliveries_unfinished",
    deliveries.c.subscription,
    deliveries.c.lane,
    sqlite_where=_unfinished,
    postgresql_where=_unfinished,
)

passes = Table(
    "passes",
    metadata,
    Column("subscription", String(100), primary_key=True),
    Column("rule", String(16), primary_key=True),
    Column("key", Plain, primary_key=True),
    Column("event_id", String(26), primary_key=True),
    Column("at", Moment, nullable=False),
    Index("passes_by_key", "subscription", "rule", "key", "at"),
    Index("passes_by_time", "at"),
    sqlite_with_rowid=False,
)

folds = Table(
    "folds",
    metadata,
    Column("subscription", String(100), primary_key=True),
    Column("head", String(26), primary_key=True),
    Column("key", Plain, nullable=False),
    Column("due", Moment, nullable=False),
    Column("told", Moment),
    Column("events", Integer, nullable=False),
    Column("facts", Text, nullable=False),
    Index("folds_by_key", "subscription", "key"),
    sqlite_with_rowid=False,
)

silences = Table(
    "silences",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("subscription", String(100), nullable=False),
    Column("where", Text, nullable=False),
    Column("author", Plain, nullable=False),
    Column("comment", Plain, nullable=False),
    Column("made", Moment, nullable=False),
    Column("until", Moment, nullable=False),
)

breakers = Table(
    "breakers",
    metadata,
    Column("target", Plain, primary_key=True),
    Column("failed", Integer, nullable=False),
    Column("until", Moment),
    Column("opened", Moment),
    Column("reason", Plain, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("event_id", String(26), nullable=False),
    Column("subscription", String(100), nullable=False),
    Column("event", Plain, nullable=False),
    Column("plan", Text, nullable=False),
    Column("asked", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("by", Plain, nullable=False),
    Column("answered", Moment),
)

events = Table(
    "events",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("id", String(26), nullable=False, unique=True),
    Column("event", Plain, nullable=False),
    Column("topic", Plain, nullable=False),
    Column("time", Plain, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
)

letters = Table(
    "letters",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("event_id", Plain, nullable=False),
    Column("event", Plain, nullable=False),
    Column("subscription", Plain, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("exchange", Plain, nullable=False),
    Column("topic", Plain, nullable=False),
    Column("reason", Plain, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", Text, nullable=False),
    Column("kept_at", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("replay", String(26), nullable=False),
    Column("by", Plain, nullable=False),
    Column("settled_at", Moment),
    Index("letters_by_state", "state", "kept_at"),
)

amendments = Table(
    "amendments",
    metadata,
    Column("letter", String(16), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("by", Plain, nullable=False),
    Column("at", Moment, nullable=False),
    Column("changes", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

bindings = Table(
    "bindings",
    metadata,
    Column("subscription", String(100), primary_key=True),
    Column("pattern", String(255), primary_key=True),
    sqlite_with_rowid=False,
)
