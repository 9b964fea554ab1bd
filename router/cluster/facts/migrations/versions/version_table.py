"""Alembic's version table replaces `facts_version`."""

from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Drop the version table of the first release."""
    op.drop_table("facts_version")
