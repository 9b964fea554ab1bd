"""The tables of the first release: deliveries, the audit, letters, bindings, and the version table that it had."""

from alembic import op
from sqlalchemy import Column, Integer, LargeBinary, String, Text

revision = "1"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _deliveries()
    _events()
    _letters()
    _bindings()
    op.create_table("store_version", Column("version", Integer, primary_key=True))


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        Column("event_id", String(26), primary_key=True),
        Column("subscription", String(100), primary_key=True),
        Column("replay", String(64), primary_key=True),
        Column("attempt", Integer, primary_key=True, autoincrement=False),
        Column("event", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("node", Text, nullable=False),
        Column("started", String(32), nullable=False),
        Column("ended", String(32)),
        Column("outcome", String(16)),
        Column("delay", Integer),
        Column("reason", Text),
        Column("result", Text),
        Column("digest", String(64), nullable=False),
        Column("owner", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("deliveries_by_start", "deliveries", ["started"])


def _events() -> None:
    op.create_table(
        "events",
        Column("sequence", Integer, primary_key=True, autoincrement=False),
        Column("id", String(26), nullable=False, unique=True),
        Column("event", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("time", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("chain", LargeBinary(32), nullable=False),
    )


def _letters() -> None:
    op.create_table(
        "letters",
        Column("id", String(16), primary_key=True),
        Column("kind", String(16), nullable=False),
        Column("event_id", Text, nullable=False),
        Column("event", Text, nullable=False),
        Column("subscription", Text, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("exchange", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("headers", Text, nullable=False),
        Column("kept_at", String(32), nullable=False),
        Column("state", String(16), nullable=False),
        Column("replay", String(26), nullable=False),
        Column("by", Text, nullable=False),
        Column("settled_at", String(32)),
    )
    op.create_index("letters_by_state", "letters", ["state", "kept_at"])


def _bindings() -> None:
    op.create_table(
        "bindings",
        Column("subscription", String(100), primary_key=True),
        Column("pattern", String(255), primary_key=True),
        sqlite_with_rowid=False,
    )
