"""The place of a delivery: those with equal places are counted together by `at_most`."""

from alembic import op
from sqlalchemy import Column, Text

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add the column."""
    op.add_column("deliveries", Column("place", Text))
