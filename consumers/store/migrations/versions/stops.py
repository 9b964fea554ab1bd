"""Failures that are counted, and subscriptions that were stopped because of them."""

from alembic import op
from sqlalchemy import Column, String, Text

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "failures",
        Column("subscription", String(100), primary_key=True),
        Column("at", String(32), primary_key=True),
        Column("mark", Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stops",
        Column("id", String(26), primary_key=True),
        Column("subscription", String(100), nullable=False),
        Column("cluster", Text, nullable=False),
        Column("node", Text, nullable=False),
        Column("event", Text, nullable=False),
        Column("event_id", String(26), nullable=False),
        Column("at", String(32), nullable=False),
        Column("reason", Text, nullable=False),
        Column("reported", String(32)),
        Column("resumed", String(32)),
        Column("by", Text, nullable=False),
        Column("comment", Text, nullable=False),
        Column("resume_reported", String(32)),
    )
    op.create_index("stops_by_subscription", "stops", ["subscription", "at"])
