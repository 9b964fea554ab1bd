"""What retention needs: where the audit was cut, and when letters were settled; and letters by their event."""

from alembic import op
from sqlalchemy import Column, Integer, LargeBinary, String

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add the table and the indexes."""
    op.create_table(
        "audit_cuts",
        Column("sequence", Integer, primary_key=True, autoincrement=False),
        Column("chain", LargeBinary(32), nullable=False),
        Column("at", String(32), nullable=False),
    )
    op.create_index("letters_by_end", "letters", ["state", "settled_at"])
    op.create_index("letters_by_event", "letters", ["event_id"])
