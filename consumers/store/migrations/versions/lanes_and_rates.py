"""Lanes of deliveries; tables for rates, folds, silences, breakers, approvals and amendments; no `store_version`."""

from alembic import op
from sqlalchemy import Column, Integer, LargeBinary, String, Text, text

revision = "2"
down_revision = "1"

_UNFINISHED = text("lane IS NOT NULL AND (outcome IS NULL OR outcome IN ('retry', 'wait'))")


def upgrade() -> None:
    """Add the column and the tables, and drop the version table of the first release."""
    _lanes()
    _passes()
    _folds()
    _silences()
    _breakers()
    _approvals()
    _amendments()
    op.drop_table("store_version")


def _lanes() -> None:
    op.add_column("deliveries", Column("lane", Text))
    op.create_index(
        "deliveries_unfinished",
        "deliveries",
        ["subscription", "lane"],
        sqlite_where=_UNFINISHED,
        postgresql_where=_UNFINISHED,
    )


def _passes() -> None:
    op.create_table(
        "passes",
        Column("subscription", String(100), primary_key=True),
        Column("rule", String(16), primary_key=True),
        Column("key", Text, primary_key=True),
        Column("event_id", String(26), primary_key=True),
        Column("at", String(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("passes_by_key", "passes", ["subscription", "rule", "key", "at"])
    op.create_index("passes_by_time", "passes", ["at"])


def _folds() -> None:
    op.create_table(
        "folds",
        Column("subscription", String(100), primary_key=True),
        Column("head", String(26), primary_key=True),
        Column("key", Text, nullable=False),
        Column("due", String(32), nullable=False),
        Column("told", String(32)),
        Column("events", Integer, nullable=False),
        Column("facts", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("folds_by_key", "folds", ["subscription", "key"])


def _silences() -> None:
    op.create_table(
        "silences",
        Column("id", String(26), primary_key=True),
        Column("subscription", String(100), nullable=False),
        Column("where", Text, nullable=False),
        Column("author", Text, nullable=False),
        Column("comment", Text, nullable=False),
        Column("made", String(32), nullable=False),
        Column("until", String(32), nullable=False),
    )


def _breakers() -> None:
    op.create_table(
        "breakers",
        Column("target", Text, primary_key=True),
        Column("failed", Integer, nullable=False),
        Column("until", String(32)),
        Column("opened", String(32)),
        Column("reason", Text, nullable=False),
    )


def _approvals() -> None:
    op.create_table(
        "approvals",
        Column("id", String(16), primary_key=True),
        Column("event_id", String(26), nullable=False),
        Column("subscription", String(100), nullable=False),
        Column("event", Text, nullable=False),
        Column("plan", Text, nullable=False),
        Column("asked", String(32), nullable=False),
        Column("until", String(32), nullable=False),
        Column("state", String(16), nullable=False),
        Column("by", Text, nullable=False),
        Column("answered", String(32)),
    )


def _amendments() -> None:
    op.create_table(
        "amendments",
        Column("letter", String(16), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("by", Text, nullable=False),
        Column("at", String(32), nullable=False),
        Column("changes", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
