"""Who published a rejected record, so that no node fills the store with these.  Of earlier letters it is not known."""

from alembic import op
from sqlalchemy import Column, Text

revision = "9"
down_revision = "8"


def upgrade() -> None:
    """Add the column to letters."""
    op.add_column("letters", Column("publisher", Text))
    op.create_index("letters_by_publisher", "letters", ["publisher", "kept_at"])
