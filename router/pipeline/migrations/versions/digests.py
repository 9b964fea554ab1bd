"""The digest of each record's content; unknown for the records of before."""

from alembic import op
from sqlalchemy import Column, LargeBinary

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the column."""
    op.add_column("records", Column("digest", LargeBinary))
