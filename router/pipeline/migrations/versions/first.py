"""The tables of the first release: records, occurrences, observers, nodes, outbox."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String, Text

revision = "1"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _records()
    _occurrences()
    _observers()
    _nodes()
    _outbox()


def _records() -> None:
    op.create_table(
        "records",
        Column("id", String(26), primary_key=True),
        Column("event", String(26), nullable=False),
        Column("is_copy", Boolean, nullable=False),
        Column("node", String(255), nullable=False),
        Column("received", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_records_received", "records", ["received"])


def _occurrences() -> None:
    op.create_table(
        "occurrences",
        Column("event", String(26), primary_key=True),
        Column("key", String(32), nullable=False),
        Column("captured", BigInteger, nullable=False),
        Column("received", BigInteger, nullable=False),
    )
    op.create_index("ix_occurrences_received", "occurrences", ["received"])
    op.create_index("occurrences_by_key", "occurrences", ["key", "captured"])


def _observers() -> None:
    op.create_table(
        "observers",
        Column("event", String(26), primary_key=True),
        Column("node", String(255), primary_key=True),
        Column("record", String(26), nullable=False),
        sqlite_with_rowid=False,
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        Column("cluster", String(255), primary_key=True),
        Column("node", String(255), primary_key=True),
        Column("heard", BigInteger, nullable=False),
        Column("beating", Boolean, nullable=False),
        Column("silent", Boolean, nullable=False),
        Column("missing", BigInteger, nullable=False),
        Column("untold", BigInteger),
        Column("epochs", Text, nullable=False),
    )
    op.create_index("ix_nodes_heard", "nodes", ["heard"])
    op.create_index("ix_nodes_untold", "nodes", ["untold"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("id", String(26), nullable=False, unique=True),
        Column("body", LargeBinary, nullable=False),
    )
