"""The tables of the first release: contents, failures, and the version table that this release had."""

from alembic import op
from sqlalchemy import Column, Integer, String, Text

revision = "1"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table("facts_version", Column("version", Integer, primary_key=True, autoincrement=False))
    op.create_table(
        "facts_contents",
        Column("cluster", String(100), primary_key=True),
        Column("part", String(300), primary_key=True),
        Column("since", String(32), primary_key=True),
        Column("confirmed", String(32), nullable=False),
        Column("content", Text),
    )
    op.create_index("ix_facts_contents_confirmed", "facts_contents", ["confirmed"])
    op.create_table(
        "facts_failures",
        Column("cluster", String(100), primary_key=True),
        Column("part", String(300), primary_key=True),
        Column("since", String(32), primary_key=True),
        Column("latest", String(32), nullable=False),
        Column("reason", Text, nullable=False),
    )
    op.create_index("ix_facts_failures_latest", "facts_failures", ["latest"])
